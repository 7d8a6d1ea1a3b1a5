-- Ends deliveries, each in one step: appends, then the ack. Only those that the member still owns.
-- KEYS[1]: the stream. The others: where entries are appended.
-- ARGV: group, member, then for each delivery its id, the number of its appends, and for each of those: the index of
-- its key, "reply" or "append" or "if-exists", the most entries to keep or "", the number of names and values, and those.
-- Answers the ids that were not the member's, and, if an append failed, the error and the index of its key. A failed
-- append leaves its delivery pending and does not stop the others.
local group, member = ARGV[1], ARGV[2]
local lost, failure, failed_key = {}, false, 0
local at = 3
while at <= #ARGV do
  local id, appends = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local pending = redis.pcall('XPENDING', KEYS[1], group, id, id, 1, member)
  if pending.err then return pending end
  local owned = #pending > 0
  local good = owned
  for _ = 1, appends do
    local key, kind, entries_max, parts = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    if good then
      local command = { 'XADD', KEYS[key] }
      if kind ~= 'append' then command[#command + 1] = 'NOMKSTREAM' end
      if entries_max ~= '' then
        command[#command + 1] = 'MAXLEN'
        command[#command + 1] = '~'
        command[#command + 1] = entries_max
      end
      command[#command + 1] = '*'
      for part = at + 4, at + 3 + parts do command[#command + 1] = ARGV[part] end
      local added = redis.pcall(unpack(command))
      -- A reply has nowhere to go when its inbox is gone or is no stream; that is no reason to run the handler again.
      if type(added) == 'table' and added.err and not (kind == 'reply' and string.find(added.err, 'WRONGTYPE', 1, true)) then
        good, failure, failed_key = false, added.err, key
      end
    end
    at = at + 4 + parts
  end
  if not owned then
    lost[#lost + 1] = id
  elseif good then
    redis.call('XACK', KEYS[1], group, id)
  end
end
return { lost, failure, failed_key }
