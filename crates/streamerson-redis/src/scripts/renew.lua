-- Starts the idle time of deliveries again, of those that the member still owns.
-- KEYS[1]: the stream. ARGV: group, member, ids. Answers the ids that were not the member's. Those whose entry was trimmed
-- are its own until their lease ends, as nothing can renew it.
local group, member = ARGV[1], ARGV[2]
local lost = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local pending = pending_on(member, KEYS[1], group, id, id, 1)
  if pending.err then return pending end
  if #pending == 0 then
    lost[#lost + 1] = id
  elseif not is_trimmed(KEYS[1], id) and #redis.call('XCLAIM', KEYS[1], group, member, 0, id, 'JUSTID') == 0 then
    -- Somebody deleted just this entry, and the delivery with it.
    lost[#lost + 1] = id
  end
end
return lost
