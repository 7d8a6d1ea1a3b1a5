-- Takes over deliveries that nobody renewed for a lease. Those whose entry is gone become dead letters.
-- KEYS[1]: the stream. KEYS[2]: its dead letters.
-- ARGV: group, member, lease in ms, cursor, most entries, most dead letters, and the dead letter's JSON before and
-- after the entry id.
-- Answers the next cursor, the deliveries as { entry, count }, the ids whose entry is gone, what kept their dead letters
-- from being written, if anything did, and how many old dead letters were dropped. XAUTOCLAIM has dropped the ids then,
-- and all that is left is to say so.
local group, member = ARGV[1], ARGV[2]
local claimed = redis.pcall('XAUTOCLAIM', KEYS[1], group, member, ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
if claimed.err then return claimed end

-- Redis 7 and later find deleted entries by themselves and drop them from the pending list.
local gone = claimed[3] or {}
local deliveries = {}
for _, id in ipairs(claimed[2]) do
  -- Without JUSTID, so that the delivery count rises. Redis 6.2 answers a nil entry for one that was deleted.
  local entry = redis.call('XCLAIM', KEYS[1], group, member, 0, id)[1]
  if entry then
    local pending = redis.call('XPENDING', KEYS[1], group, id, id, 1, member)
    deliveries[#deliveries + 1] = { entry, pending[1][4] }
  else
    gone[#gone + 1] = id
  end
end

local failure, dropped = false, 0
for _, id in ipairs(gone) do
  local added = redis.pcall('XADD', KEYS[2], '*', 'd', ARGV[7] .. id .. ARGV[8])
  if type(added) == 'table' and added.err then
    failure = added.err
  else
    dropped = dropped + drop_oldest(KEYS[2], ARGV[6])
  end
  redis.call('XACK', KEYS[1], group, id)
end
return { claimed[1], deliveries, gone, failure, dropped }
