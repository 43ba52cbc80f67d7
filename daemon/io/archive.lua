-- Reads one of several archives.
--
-- KEYS    1  the archive, a stream
-- ARGV    1  XRANGE or XREVRANGE,
--         2  from and
--         3  to, as that command has them
--         4  limit of entries
-- Answer  the time here in ms, and the entries
--
-- Why a script: what is written here after the answer has an id of that time, or a later one. Whoever merges several
-- archives knows by it up to where nothing can be missing any more.

local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000),
        redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])}
