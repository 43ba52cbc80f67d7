-- Ends a call that only its own node has written, and makes its entry in the archive, in one step. It is the ordinary
-- end: call.lua would do the same with more work.
--
-- KEYS    1  the call
--         2  the archive, a stream
-- ARGV    1  the node that writes, whose call it is
--         2  the transaction that the call follows
--         3  TTL of the record in ms
--         4  when it ended
--         5  the end as call.lua has it behind a record that is a text
--         6  limit of entries in the archive; behind it stand name, value, name, value…: all that the entry has besides.
--            Or "": the archive is not trimmed, and behind it stand values alone, of the names that are in the first
--            XADD below; then what the entry has besides these
-- Answer  "written"; none, when the record is not that of this node and transaction, or has ended, or others have
--         written it, too: then nothing was written
--
-- Why a script: check, entry and end have to be one step, or a call would end twice. Why it has names and values of its
-- own, and reads no more of the record: each word that a script is given, and each byte that it reads, costs Redis more.

local key, node, tx, ended = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local mine, last = '"node","' .. node .. '","tx","' .. tx .. '"]', redis.pcall('GETRANGE', key, '-256', '-1')
if type(last) ~= 'string' or not last:find(mine, -#mine, true) then return false end

-- A full Redis refuses this, and nothing is written. Who has no right to it, which earlier versions did not need, leaves
-- it to call.lua.
local done = redis.pcall('APPEND', key, ARGV[5])
if type(done) ~= 'number' then
  return not (done.err:find('^ERR') or done.err:find('^NOPERM')) and done
end

local added
if ARGV[6] == '' then
  added = redis.pcall('XADD', KEYS[2], '*', 'node', node, 'tx', tx, 'ended', ended,
    'call_id', ARGV[7], 'inc', ARGV[8], 'caller', ARGV[9], 'callee', ARGV[10], 'ruri', ARGV[11], 'source', ARGV[12],
    'from_tag', ARGV[13], 'to_tag', ARGV[14], 'trying', ARGV[15], 'ringing', ARGV[16], 'answered', ARGV[17],
    'code', '200', 'how', 'completed', 'state', 'ended', 'by', ARGV[18], 'duration_ms', ARGV[19], 'pdd_ms', ARGV[20],
    unpack(ARGV, 21))
else
  added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'node', node, 'tx', tx, 'ended', ended, unpack(ARGV, 7))
end
if type(added) ~= 'string' then
  redis.call('SET', key, redis.call('GETRANGE', key, 0, -1 - #ARGV[5]), 'KEEPTTL')
  return added
end
redis.call('PEXPIRE', key, ARGV[3])
return 'written'
