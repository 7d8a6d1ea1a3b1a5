-- What is pending on a member from one id to another, at most so many, as { id, member, idle, count }; or an error.
-- Some servers answer the whole group's list for a member that they do not know, so each one's owner is looked at.
local function pending_on(member, key, group, from, to, count)
  local pending = redis.pcall('XPENDING', key, group, from, to, count, member)
  if pending.err then return pending end
  local own = {}
  for _, entry in ipairs(pending) do
    if entry[2] == member then own[#own + 1] = entry end
  end
  return own
end

