-- Ends a call that only its own node has written, and makes its entry in the archive, in one step. It is the ordinary
-- end: call.lua would do the same with more work.
--
-- KEYS    1  the call
--         2  the archive, a stream
-- ARGV    1  the node that writes, whose call it is
--         2  the transaction that the call follows
--         3  TTL of the record in ms
--         4  limit of entries in the archive
--         5  when it ended
--         6  what its record lacks besides, as call.lua has it in the field "end"
--         7  1: from here on stand values alone, of the names that are in the XADD below; behind them, or in their
--            place, name, value, name, value…: all that the entry has besides
-- Answer  "written"; none, when the record is not that of this node and transaction, or others have written it, too:
--         then nothing was written
--
-- Why a script: check, entry and end have to be one step, or a call would end twice. Why it has names of its own, and a
-- text in place of fields: each word that a script is given, and each field, costs Redis more.

local key, node, tx, ended = KEYS[1], ARGV[1], ARGV[2], ARGV[5]
local record = redis.pcall('GET', key)
if type(record) ~= 'string' or record:find('["node","' .. node .. '","tx","' .. tx .. '"', 1, true) ~= 1 then
  return false
end

-- The archive comes first: if that is refused, nothing is written.
if ARGV[7] == '1' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'node', node, 'tx', tx, 'ended', ended,
    'call_id', ARGV[8], 'inc', ARGV[9], 'caller', ARGV[10], 'callee', ARGV[11], 'ruri', ARGV[12], 'source', ARGV[13],
    'from_tag', ARGV[14], 'to_tag', ARGV[15], 'trying', ARGV[16], 'ringing', ARGV[17], 'answered', ARGV[18],
    'code', ARGV[19], 'how', ARGV[20], 'by', ARGV[21], 'state', ARGV[22], 'duration_ms', ARGV[23],
    'pdd_ms', ARGV[24], unpack(ARGV, 25))
else
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'node', node, 'tx', tx, 'ended', ended, unpack(ARGV, 8))
end
redis.call('PEXPIRE', key, '0')
redis.call('HSET', key, 'record', record, 'ended', ended, 'end', ARGV[6])
redis.call('PEXPIRE', key, ARGV[3])
return 'written'
