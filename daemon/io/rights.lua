-- Says which of kamsyncd's commands this user of Redis may not run.
--
-- KEYS    none: a key that this user may not touch would be refused before the script runs
-- ARGV    1  a key, and
--         2  a channel, as kamsyncd has them
--         3  the commands, one a line: what the right is called, then the command, K for the key, C for the channel
-- Answer  the rights that are missing, as ACL SETUSER takes them; "" when none is
--
-- Why a script: only there may everybody ask what he may do.

local missing = {}
for line in ARGV[3]:gmatch('[^\n]+') do
  local words = {}
  for word in line:gmatch('%S+') do
    words[#words + 1] = word == 'K' and ARGV[1] or word == 'C' and ARGV[2] or word
  end
  if not redis.acl_check_cmd(unpack(words, 2)) then missing[#missing + 1] = '+' .. words[1] end
end
return table.concat(missing, ' ')
