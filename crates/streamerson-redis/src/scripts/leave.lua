-- Takes a member off its group, if nothing is pending on it: with its entry there, what is pending would be lost.
-- KEYS[1]: the stream. ARGV: group, member. Answers 1 if the member is off the group's list.
local pending = pending_on(ARGV[2], KEYS[1], ARGV[1], '-', '+', 1)
if pending.err then return pending end
if #pending > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
