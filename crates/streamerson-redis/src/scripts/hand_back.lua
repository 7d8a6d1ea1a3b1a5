-- Gives deliveries that never started to a pseudo-member, idle for longer than any lease, so that others take them.
-- KEYS[1]: the stream. ARGV: group, member, pseudo-member, idle time in ms, ids.
local group, member = ARGV[1], ARGV[2]
for at = 5, #ARGV do
  local id = ARGV[at]
  local pending = pending_on(member, KEYS[1], group, id, id, 1)
  if pending.err then return pending end
  -- One whose entry was trimmed nobody could handle; whoever takes over after its lease buries it.
  if #pending > 0 and not is_trimmed(KEYS[1], id) then
    -- One less, as the reclaim that follows counts as a delivery.
    local count = math.max(pending[1][4] - 1, 0)
    redis.call('XCLAIM', KEYS[1], group, ARGV[3], 0, id, 'IDLE', ARGV[4], 'RETRYCOUNT', count, 'JUSTID')
  end
end
return 0
