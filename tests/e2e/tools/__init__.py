"""Programs that one runs; parts of some of them are used by tests, too."""
