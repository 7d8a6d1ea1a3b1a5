-- Takes over deliveries that nobody renewed for a lease. Those whose entry is gone become dead letters.
-- KEYS[1]: the stream. KEYS[2]: its dead letters.
-- ARGV: group, member, lease in ms, cursor, most entries, most dead letters, the dead letter's JSON before and after the
-- entry id, the most entries to look at, and the pseudo-member whose entries come first, if they do.
-- Answers the next cursor, the deliveries as { entry, count }, the ids whose entry is gone, what kept their dead letters
-- from being written, if anything did, and how many old dead letters were dropped. XAUTOCLAIM has dropped the ids then,
-- and all that is left is to say so.
local group, member = ARGV[1], ARGV[2]
local cursor, left, unseen = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[9])
local deliveries, gone, taken = {}, {}, {}

local function take(id)
  -- With a lease of zero what was taken just now is found again.
  if taken[id] then return end
  taken[id], left = true, left - 1
  -- Without JUSTID, so that the delivery count rises. Redis 6.2 answers a nil entry for one that was deleted.
  local entry = redis.call('XCLAIM', KEYS[1], group, member, 0, id)[1]
  if entry then
    local pending = pending_on(member, KEYS[1], group, id, id, 1)
    deliveries[#deliveries + 1] = { entry, pending[1][4] }
  else
    gone[#gone + 1] = id
  end
end

-- The server keeps a list for each member, so this one is short however much the group holds. What members died of has no
-- precedence: it is given back, too, where there is no place for it, and would be all that is ever found.
if ARGV[10] then
  local handed_back = pending_on(ARGV[10], KEYS[1], group, '-', '+', left + unseen)
  if handed_back.err then return handed_back end
  for _, pending in ipairs(handed_back) do
    if left > 0 and pending[4] == 0 then take(pending[1]) end
  end
end

-- One call looks at ten times what it may take, so with little room it takes many calls to see anything of a long list.
while left > 0 and unseen > 0 do
  local claimed = redis.pcall('XAUTOCLAIM', KEYS[1], group, member, ARGV[3], cursor, 'COUNT', left, 'JUSTID')
  if claimed.err then return claimed end
  unseen = unseen - 10 * left
  cursor = claimed[1]
  for _, id in ipairs(claimed[2]) do take(id) end
  -- Redis 7 and later find deleted entries by themselves and drop them from the pending list.
  for _, id in ipairs(claimed[3] or {}) do gone[#gone + 1] = id end
  if cursor == '0-0' then break end
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
return { cursor, deliveries, gone, failure, dropped }
