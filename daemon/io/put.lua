-- Writes a transaction's record in one step, unless another one fences it off.
--
-- KEYS    1  the record
-- ARGV    1  the record as it is to be
--         2  its life in ms
--         3  where in it its epoch, owner and inc end
-- Answer  OK, or the record that stays
--
-- A record begins with its head, {"epoch":7,"owner":1,"inc":"100.1","from":"6 2 200.1", of which "from" may be missing.
-- It may be written where no record stands, or one of the same owner and inc whose epoch is not higher, or exactly the
-- one that it is from.
--
-- Why a script: whoever takes a transaction over has read whose it was, and must not write over what has been written
-- since then, nor may the owner before still write. core/txn/record.c decides the same (record_fences()).

-- The ordinary case: its owner writes it again.
if redis.call('GETRANGE', KEYS[1], 0, ARGV[3]) == ARGV[1]:sub(1, ARGV[3] + 1) then
  return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end

local function head(text)
  local epoch, owner, inc, rest = text:match('^{"epoch":(%d+),"owner":(%d+),"inc":"([^"]*)"()')
  if epoch and #epoch > 15 then return nil end
  if epoch then return epoch, owner, inc, rest end
  owner, inc, rest = text:match('^{"owner":(%d+),"inc":"([^"]*)"()')
  return owner and '1', owner, inc, rest
end

local was_epoch, was_owner, was_inc = head(redis.call('GETRANGE', KEYS[1], 0, 199))
local epoch, owner, inc, rest = head(ARGV[1]:sub(1, 200))
if was_epoch and epoch then
  local fenced
  if was_owner == owner and was_inc == inc then fenced = tonumber(was_epoch) > tonumber(epoch)
  else fenced = ARGV[1]:match('^,"from":"([^"]*)"', rest) ~= was_epoch .. ' ' .. was_owner .. ' ' .. was_inc end
  if fenced then return redis.call('GET', KEYS[1]) end
end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
