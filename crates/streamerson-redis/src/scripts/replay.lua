-- Moves a dead letter back into a stream. KEYS[1]: the dead letters. KEYS[2]: the stream. ARGV: id, names and values.
-- Answers the id that it has there; nothing if the dead letter was gone; an error in an array if it could not be read.
local found = redis.pcall('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if found.err then return { found.err } end
if #found == 0 then return false end
local added = redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, 2))
if type(added) == 'table' and added.err then return added end
redis.call('XDEL', KEYS[1], ARGV[1])
return added
