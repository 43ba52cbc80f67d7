-- Tells the commands that write records under their names in a Redis Cluster (docs/redis-keys.md has how it is used).
--
-- ARGV    names of records in this Redis: transactions, claims and calls
-- Answer  a command for each, in a line, as redis-cli takes them

-- As Redis Cluster's slots have it.
local function crc16(text)
  local crc = 0
  for i = 1, #text do
    crc = bit.bxor(crc, bit.lshift(text:byte(i), 8))
    for _ = 1, 8 do
      crc = bit.band(bit.bxor(bit.lshift(crc, 1), crc >= 0x8000 and 0x1021 or 0), 0xffff)
    end
  end
  return crc
end

local function quoted(text)
  return '"' .. text:gsub('%W', function(c) return string.format('\\x%02x', c:byte()) end) .. '"'
end

-- NN is of the Call-ID as it was, before it was percent-encoded.
local function named(old)
  local cluster, kind, call_id, rest = old:match('^([^:]+):(%a+):{(.-)}:(.*)$')
  local raw = call_id:gsub('%%(%x%x)', function(h) return string.char(tonumber(h, 16)) end)
  return string.format('%s:{b%02x}:%s:%s:%s', cluster, crc16(raw) % 256, kind, call_id, rest)
end

-- A call names its transaction: in the last word of a text, behind which its end may stand, or in the field "tx" of a hash.
local function moved(text)
  local before, tx, after = text:match('^(%[".*"tx",")([^"]*)("%].*)$')
  return tx and before .. named(tx) .. after or text
end

local lines = {}
for _, key in ipairs(ARGV) do
  local life, new = redis.call('PTTL', key), quoted(named(key))
  if life > 0 and redis.call('TYPE', key).ok == 'hash' then
    local words, fields = {}, redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      local value = fields[i] == 'tx' and named(fields[i + 1]) or fields[i + 1]
      words[#words + 1] = quoted(fields[i]) .. ' ' .. quoted(value)
    end
    lines[#lines + 1] = 'HSET ' .. new .. ' ' .. table.concat(words, ' ')
    lines[#lines + 1] = 'PEXPIRE ' .. new .. ' ' .. life
  elseif life > 0 then
    lines[#lines + 1] = 'SET ' .. new .. ' ' .. quoted(moved(redis.call('GET', key))) .. ' PX ' .. life
  end
end
return lines
