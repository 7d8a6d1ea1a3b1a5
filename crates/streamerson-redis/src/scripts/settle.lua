-- Ends deliveries, each in one step: what comes of it, then the ack. Only those that the member still owns.
-- KEYS[1]: the stream. The others: what the steps touch.
-- ARGV: group, member, then for each delivery its id, the number of its steps, and for each of those: the index of its
-- key, its kind, a bound or "", the number of its parts, and those. The kinds:
--   append, if-exists, reply: names and values; the bound is how many entries about to keep
--   dead: names and values; the bound is how many dead letters to keep
--   mark: the value; the bound is how long it stays, in ms
--   later: the index of the key of the entries, id, time and fields; the bound is how many the schedule may hold
-- Answers the ids that were not the member's, the error of a step and the index of its key, if one failed, and how many
-- old dead letters were dropped. A failed step leaves its delivery pending and does not stop the others.
local group, member = ARGV[1], ARGV[2]
local dropped = 0

-- Takes a step, whose parts are ARGV[first] to ARGV[last]. Answers nothing, or what went wrong.
local function take(kind, key, bound, first, last)
  if kind == 'later' then
    return schedule(key, KEYS[tonumber(ARGV[first])], bound, ARGV[first + 1], ARGV[first + 2], ARGV[first + 3])
  end
  if kind == 'mark' then
    local set = redis.pcall('SET', key, ARGV[first], 'PX', bound)
    return set.err
  end
  local command = { 'XADD', key }
  if kind == 'reply' or kind == 'if-exists' then command[#command + 1] = 'NOMKSTREAM' end
  if kind ~= 'dead' and bound ~= '' then
    command[#command + 1] = 'MAXLEN'
    command[#command + 1] = '~'
    command[#command + 1] = bound
  end
  command[#command + 1] = '*'
  for part = first, last do command[#command + 1] = ARGV[part] end
  local added = redis.pcall(unpack(command))
  if type(added) == 'table' and added.err then
    -- A reply has nowhere to go when its inbox is gone or is no stream; that is no reason to run the handler again.
    if kind ~= 'reply' or not string.find(added.err, 'WRONGTYPE', 1, true) then return added.err end
  elseif kind == 'dead' then
    dropped = dropped + drop_oldest(key, bound)
  end
end

local lost, failure, failed_key = {}, false, 0
local at = 3
while at <= #ARGV do
  local id, steps = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local pending = pending_on(member, KEYS[1], group, id, id, 1)
  if pending.err then return pending end
  local owned = #pending > 0
  local good = owned
  for _ = 1, steps do
    local key, parts = tonumber(ARGV[at]), tonumber(ARGV[at + 3])
    if good then
      local cause = take(ARGV[at + 1], KEYS[key], ARGV[at + 2], at + 4, at + 3 + parts)
      if cause then good, failure, failed_key = false, cause, key end
    end
    at = at + 4 + parts
  end
  if not owned then
    lost[#lost + 1] = id
  elseif good then
    redis.call('XACK', KEYS[1], group, id)
  end
end
return { lost, failure, failed_key, dropped }
