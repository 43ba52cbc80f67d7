-- Writes a transaction's record in one step, unless another one fences it off.
--
-- KEYS    1  the record
-- ARGV    1  the record as it is to be
--         2  its life in ms
--         3  only for one that was written over and goes back: the head of the one that went over it, as "from" has it
-- Answer  OK, or the record that stays
--
-- A record begins with its head, {"epoch":7,"owner":1,"inc":"100.1","from":"6 2 200.1", of which "from" may be missing.
-- It may be written where no record stands, or one of the same owner and inc whose epoch is not higher, or exactly the
-- one that it is from.
--
-- A record of epoch 1 and from none is a string, as its maker writes it by SET. Any other is a hash of one field, which
-- keeps that SET out, and stays one.
--
-- Why a script: whoever takes a transaction over has read whose it was, and must not write over what has been written
-- since then, nor may the owner before still write. core/txn/record.c decides the same (record_fences()).

local function head(text)
  local epoch, owner, inc, rest = text:match('^{"epoch":(%d+),"owner":(%d+),"inc":"([^"]*)"()')
  if epoch and #epoch > 15 then return nil end
  if epoch then return epoch, owner, inc, rest end
  owner, inc, rest = text:match('^{"owner":(%d+),"inc":"([^"]*)"()')
  return owner and '1', owner, inc, rest
end

-- A string that stands there goes first, but not before it is known that the hash may be written.
local function write_hash()
  local done = redis.pcall('HSET', KEYS[1], 'record', ARGV[1])
  if type(done) == 'table' then
    if done.err:find('^WRONGTYPE') then redis.call('PEXPIRE', KEYS[1], '0') end
    redis.call('HSET', KEYS[1], 'record', ARGV[1])
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return redis.status_reply('OK')
end

local held = redis.pcall('HMGET', KEYS[1], 'record')
if held.err and not held.err:find('^WRONGTYPE') then return redis.call('HMGET', KEYS[1], 'record') end
local hash = held[1]
local was_epoch, was_owner, was_inc = head(hash and hash:sub(1, 200) or redis.call('GETRANGE', KEYS[1], 0, 199))
local epoch, owner, inc, rest = head(ARGV[1]:sub(1, 200))
local from = epoch and ARGV[1]:match('^,"from":"([^"]*)"', rest)
local holder = was_epoch and was_epoch .. ' ' .. was_owner .. ' ' .. was_inc
local fenced = false
if ARGV[3] then fenced = ARGV[3] ~= holder
elseif holder and epoch and was_owner == owner and was_inc == inc then fenced = tonumber(was_epoch) > tonumber(epoch)
elseif holder and epoch then fenced = from ~= holder end

if fenced then return hash or redis.call('GET', KEYS[1]) end
if hash or (not ARGV[3] and epoch and (epoch ~= '1' or from)) then return write_hash() end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
