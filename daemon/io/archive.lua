-- Reads one of several archives.
--
-- KEYS    1  the archive, a stream
-- ARGV    1  XRANGE or XREVRANGE,
--         2  from and
--         3  to, as that command has them
--         4  limit of entries
--         5  the last id that was read of it, as the end of a range; "": it does not matter
-- Answer  the time here in ms, the entries, and 1 if some between the last that was read and these may have been removed:
--         the archive was trimmed, and nothing is left that was read; else 0
--
-- Why a script: what is written here after the answer has an id of that time, or a later one. Whoever merges several
-- archives knows by it up to where nothing can be missing any more.

local time, gap = redis.call('TIME'), 0
local list = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
if ARGV[5] ~= '' and #list > 0 and #redis.call('XRANGE', KEYS[1], '-', ARGV[5], 'COUNT', 1) == 0 then
  local info, is = redis.call('XINFO', 'STREAM', KEYS[1]), {}
  for i = 1, #info, 2 do is[info[i]] = info[i + 1] end
  if is['entries-added'] > is['length'] then gap = 1 end
end
return {time[1] * 1000 + math.floor(time[2] / 1000), list, gap}
