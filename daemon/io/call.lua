-- Writes a call's record in one step, or reads it.
--
-- KEYS    1  the call
--         2  (the two that end) the archive, a stream; else optional: another key of the call, used if it is not at the
--            first
-- ARGV    1  what to do: "get", or one of enum call_mode: "add", "begin" ("first": the same with call_write.first),
--            "take", "end", "end-answered"
--         2  the node that writes
--         3  TTL of the record in ms
--         4  limit of entries in the archive, 0: no limit
--         5  how many of the last pairs replace no existing field
--         6  the transaction that the call follows, if it is the writer's own; else "". With it an unanswered call does
--            not end while a leg of it goes on at another node. Of an end's writer also its others of the call, each
--            behind a newline
--         7  (the two that end) the dialog's tag, "": all its dialogs are over
--         …  name, value, name, value…; or ("begin", "first") the text that was not written, and what it has gone over
--            all the same
-- Answer  the record ("get"), else one of enum call_result: "written", "other", "over", "absent", "early", "foreign",
--         "goes-on"
--
-- A record is a text, a JSON array that ends with its node and tx, while only that node has written it: by plain
-- commands (redis_calls.c). Its end, if that node writes it, too, is a second such array behind the first (end.lua).
-- When anybody else writes the record, it becomes a hash, which these commands leave alone.
--
-- Why a script: several nodes see the same BYE, and take over the same call. Each has to check and write in one step,
-- or a call would end twice. core/engine.h defines each mode; io/memory_calls.c does the same without Redis.

local key, mode, node, ttl, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ends = mode == 'end' or mode == 'end-answered'

-- Redis had lost the writer's record, and another was begun in its place: who has gone over that one puts it back first.
if (mode == 'begin' or mode == 'first') and ARGV[7] and ARGV[7]:sub(1, 2) == '["' then
  local words = cjson.decode(ARGV[7])
  if ARGV[8] and redis.pcall('GET', key) == ARGV[7] then redis.call('SET', key, ARGV[8], 'KEEPTTL') end
  ARGV[8] = nil
  -- Its node and tx, the last ones there, go first: the last pairs here may replace nothing (ARGV[5]).
  for i = 1, #words do ARGV[7 + (i + 3) % #words] = words[i] end
end

-- A hash of which all is its writer's.
if (mode == 'begin' or mode == 'first') and ARGV[5] == '0' and ARGV[6] ~= '' then
  local was = redis.pcall('HMGET', key, 'ended', 'node', 'tx')
  if not was.err and not was[1] and (was[2] == node and was[3] == ARGV[6] or not (was[2] or was[3])) then
    redis.call('HSET', key, unpack(ARGV, 7))
    redis.call('PEXPIRE', key, ttl)
    return 'written'
  end
end

-- A text has a tx.
local function has_tx(at)
  local was = redis.pcall('HMGET', at, 'tx')
  return was.err or was[1]
end
if KEYS[2] and not ends and not has_tx(key) then
  if has_tx(KEYS[2]) then key = KEYS[2] elseif mode ~= 'get' then return 'absent' end
end

-- All fields. What is no call's record Redis refuses to take for a hash.
local function read()
  local text = redis.pcall('GET', key)
  if type(text) ~= 'string' or text:sub(1, 2) ~= '["' then return redis.call('HGETALL', key) end
  local last = text:find(']["', 1, true)
  if not last then return cjson.decode(text) end
  local fields, before, is = cjson.decode(text:sub(last + 1)), cjson.decode(text:sub(1, last)), {}
  for i = 1, #fields, 2 do is[fields[i]] = true end
  for i = 1, #before, 2 do
    if not is[before[i]] then
      fields[#fields + 1] = before[i]
      fields[#fields + 1] = before[i + 1]
    end
  end
  return fields
end
if mode == 'get' then return read() end

-- From here on it is a hash. Who has no right to PTTL, which earlier versions did not need, gives it a new life.
if redis.pcall('HMGET', key, 'ended').err then
  local fields, left = read(), redis.pcall('PTTL', key)
  redis.call('PEXPIRE', key, '0')
  redis.call('HSET', key, unpack(fields))
  redis.call('PEXPIRE', key, type(left) == 'number' and left > 0 and left or ttl)
end

local begins = mode == 'begin' or mode == 'first' or mode == 'take'

-- The fields to write: from ARGV[first] on; from ARGV[weak + 1] on only those that do not exist.
local weak, given, first = #ARGV - 2 * ARGV[5], {}, ends and 8 or 7
for i = first, #ARGV - 1, 2 do given[ARGV[i]] = ARGV[i + 1] end

local function number(text)
  return text and #text < 16 and text:match('^%d+$') and tonumber(text)
end

-- The existing record. Only an end reads all of it, and a leg, at the bottom.
local mark = 'leg.' .. node
local was = redis.call('HMGET', key, 'ended', 'node', 'tx', 'answered', 'trying', mark)
local ended, owner, tx, answered, trying = was[1], was[2], was[3], was[4], number(was[5])
local all = ends and redis.call('HGETALL', key)
local had = {}
for i = 1, ends and #all or 0, 2 do had[all[i]] = all[i + 1] end

local function is_other(id)
  return id and id ~= '-1' and id ~= node
end

-- Compares two times as written, without leading zeros.
local function later(a, b)
  return #a > #b or (#a == #b and a > b)
end

-- After its end only another INVITE of the same name begins a new call: one that came later, or was answered.
local leg = given.tx and tx and given.tx ~= tx
if ended then
  local from, to = number(given.trying), number(ended)
  local anew = given.answered and not answered or from and to and from >= to
  if not (begins and leg) then return 'over' end
  if not anew then return 'foreign' end
  redis.call('PEXPIRE', key, '0')
  owner, tx, answered, leg = nil, nil, nil, false
end

-- Reads the record, and takes this transaction's mark from whoever has left one: he may be dead, and the writer has the
-- transaction now.
local function without_its_mark()
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if fields[i]:sub(1, 4) == 'leg.' and fields[i + 1] == given.tx then
      fields[i + 1] = ''
      redis.call('HSET', key, fields[i], '')
    end
  end
  return fields
end

-- A leg, another INVITE of the same name, takes nothing from one that was answered, or is another node's and came first.
-- While it goes on all the same, it leaves a mark: its transaction.
local is_first = false
if leg and mode ~= 'add' then
  if ends and is_other(owner) and (was[6] or '') ~= '' then redis.call('HSET', key, mark, '') end
  if answered or ends and is_other(owner) then return 'foreign' end
  local from, goes_on = number(given.trying), given.node == node and given.state ~= 'ended'
  is_first = goes_on and from and trying and from < trying
  if is_other(owner) and not given.answered and not is_first then
    local text = goes_on and given.state and given.tx or ''
    if text ~= (was[6] or '') then
      without_its_mark()
      redis.call('HSET', key, mark, text)
    end
    return 'other'
  end
end
if ends and #all == 0 then return 'absent' end
if mode == 'end-answered' and not answered then return 'early' end

-- Who only adds has left its leg alone.
if mode == 'add' and (was[6] or '') ~= '' then redis.call('HSET', key, mark, '') end

-- Another node's leg goes on: the call is free to live by that.
if ends and ARGV[6] ~= '' and not answered then
  local own = {['']=true}
  for name in ARGV[6]:gmatch('[^\n]+') do own[name] = true end
  for name, of in pairs(had) do
    if name:sub(1, 4) == 'leg.' and name ~= mark and not own[of] then
      redis.call('HSET', key, 'node', '-1', 'state', had.ringing and 'ringing' or 'trying')
      return 'goes-on'
    end
  end
end

-- One of its dialogs is over; the call ends with the last of them.
if ends and ARGV[7] ~= '' and had.to_tag then
  local tag, goes_on = ARGV[7], false
  local function open(t) return t ~= tag and not had['over.' .. t] end
  if had.to_tag ~= tag and not had['dialog.' .. tag] then return 'foreign' end
  for name in pairs(had) do
    if name:sub(1, 7) == 'dialog.' and open(name:sub(8)) then goes_on = true end
  end
  if goes_on or open(had.to_tag) then
    redis.call('HSETNX', key, 'over.' .. tag, given.ended)
    return 'goes-on'
  end
end

-- The call ended when its last dialog did.
for name, at in pairs(had) do
  if name:sub(1, 5) == 'over.' and later(at, given.ended or '') then given.ended = at end
end
for i = first, #ARGV - 1, 2 do
  if ends and ARGV[i] == 'ended' then ARGV[i + 1] = given.ended end
end

-- A call that another node owns is not begun.
local same = mode ~= 'first' and given.tx and tx == given.tx and not answered
if begins and mode ~= 'take' and is_other(owner) and not same and not leg then return 'other' end

-- The archive comes first: if that is refused, nothing is written.
if ends then
  local is, names, entry, more = {}, {}, {}, {}
  local function add(name, value)
    if is[name] == nil then names[#names + 1] = name end
    is[name] = value
  end
  local function took(name, from, to)
    if from and to then
      add(name, string.format('%.0f', math.max(0, to - from)))
      more[#more + 1] = name
      more[#more + 1] = is[name]
    end
  end
  for i = 1, #all, 2 do
    if all[i]:sub(1, 4) ~= 'leg.' then add(all[i], all[i + 1]) end
  end
  for i = first, #ARGV - 1, 2 do
    if i < weak or is[ARGV[i]] == nil then add(ARGV[i], ARGV[i + 1]) end
  end
  took('duration_ms', number(is.answered), number(is.ended))
  took('pdd_ms', number(is.trying), number(is.ringing or is.answered))
  for _, name in ipairs(names) do
    entry[#entry + 1] = name
    entry[#entry + 1] = is[name]
  end
  if keep == '0' then redis.call('XADD', KEYS[2], '*', unpack(entry))
  else redis.call('XADD', KEYS[2], 'MAXLEN', '~', keep, '*', unpack(entry)) end
  if #more > 0 then redis.call('HSET', key, unpack(more)) end
end

-- Removes the state of the INVITE before this leg.
if leg and begins then
  local fields, kept = without_its_mark(), {}
  for i = 1, #fields do
    local name = fields[i - (i + 1) % 2]
    if name ~= 'ringing' and name ~= 'code' and name ~= mark then kept[#kept + 1] = fields[i] end
  end
  redis.call('PEXPIRE', key, '0')
  redis.call('HSET', key, unpack(kept))
  if is_first and given.state and is_other(owner) then redis.call('HSET', key, 'leg.' .. owner, was[3]) end
end

if weak > first then redis.call('HSET', key, unpack(ARGV, first, weak)) end
for i = weak + 1, #ARGV - 1, 2 do redis.call('HSETNX', key, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key, ttl)
if is_other(given.node or owner) then return 'other' end
return 'written'
