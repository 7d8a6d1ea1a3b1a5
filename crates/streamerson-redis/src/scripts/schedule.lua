-- Lets entries wait for their time. KEYS[1]: the times. KEYS[2]: the entries.
-- ARGV: how many it may hold, then for each its id, its time and its fields.
-- Answers for each nothing, or what kept it from being there.
local answers = {}
for at = 2, #ARGV, 3 do
  answers[#answers + 1] = schedule(KEYS[1], KEYS[2], ARGV[1], ARGV[at], ARGV[at + 1], ARGV[at + 2]) or false
end
return answers
