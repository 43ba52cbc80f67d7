"""The JSON schemas agree with the vectors in proto/examples, which the C tests hold the parser to."""
import base64
import json
import pathlib

import jsonschema
import pytest

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
SIDES = ("from-kamailio", "from-kamsyncd")


def is_valid(side, vector):
    schema = json.loads((PROTO / f"{side}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    event = {"$ref": "#/$defs/event", "$defs": schema["$defs"]}
    return (jsonschema.Draft202012Validator(schema).is_valid(parsed(vector))
            and all(jsonschema.Draft202012Validator(event).is_valid(e) for e in events(vector)))


def vectors(kind):
    for side in SIDES:
        for vector in json.loads((PROTO / "examples" / f"{kind}-{side}.json").read_text()):
            yield pytest.param(side, vector, id=f"{side}: {vector['name']}")


def parsed(vector):
    """The vector's message; ValueError when its bytes are no JSON at all, which no schema can say."""
    if "message" in vector:
        return vector["message"]
    raw = base64.b64decode(vector["base64"]) if "base64" in vector else vector["text"].encode()
    return json.loads(raw)


def events(vector):
    """What follows the message, but for the bytes of SIP messages."""
    return [part for part in vector.get("then", []) if not isinstance(part, str) and not (part and "base64" in part)]


def expressible(vector):
    # Duplicate keys, NUL escapes and numbers beyond 64 bits are JSON to Python and to a schema.
    if not vector.get("schema", True) or vector.get("error") == "not a JSON object" and "message" not in vector:
        return False
    try:
        parsed(vector)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("side, vector", vectors("good"))
def test_good_vector_fits(side, vector):
    assert is_valid(side, vector)


@pytest.mark.parametrize("side, vector", (p for p in vectors("bad") if expressible(p.values[1])))
def test_bad_vector_does_not_fit(side, vector):
    assert not is_valid(side, vector)


@pytest.mark.parametrize("side", SIDES)
def test_names_are_used_once(side):
    names = [v["name"] for kind in ("good", "bad") for v in json.loads((PROTO / "examples" / f"{kind}-{side}.json").read_text())]
    assert len(names) == len(set(names))
