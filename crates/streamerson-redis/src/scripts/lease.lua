-- Takes a named lease if nobody holds it, and renews it for its holder. KEYS[1]: the lease.
-- ARGV: who asks, for how long, and how long the epoch is kept after that, in ms.
-- Answers the holder, the epoch and how much is left, in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end

local state = redis.pcall('HMGET', KEYS[1], 'holder', 'epoch', 'until')
if state.err then return state end
local holder, epoch, ends = state[1], tonumber(state[2] or 0) or 0, tonumber(state[3] or 0) or 0
if holder ~= ARGV[1] and (not holder or ends <= now) then
  -- Never below the time, so that it does not fall when the server has lost what was there.
  holder, epoch = ARGV[1], math.max(epoch + 1, now)
end
if holder == ARGV[1] then
  ends = now + ARGV[2]
  local stored = redis.pcall('HSET', KEYS[1], 'holder', holder, 'epoch', text(epoch), 'until', text(ends))
  if type(stored) == 'table' and stored.err then return stored end
  redis.call('PEXPIRE', KEYS[1], text(ARGV[2] + ARGV[3]))
end
return { holder, text(epoch), text(ends - now) }
