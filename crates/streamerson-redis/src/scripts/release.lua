-- Ends a named lease, if it is the holder's; its epoch stays. KEYS[1]: the lease. ARGV: the holder. Answers 1 if it was.
local holder = redis.pcall('HGET', KEYS[1], 'holder')
if type(holder) == 'table' then return holder end
if holder ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder', 'until')
return 1
