-- Takes bytes from the budget that all mailboxes share, and gives others back.
-- KEYS[1] a hash: for each minute in which mailboxes end, the bytes that they hold.
-- KEYS[2] the answer to this request, for when it is asked again because the answer was lost.
-- ARGV    this minute, the budget, the minute in which the caller's mailbox ends, the bytes it wants, for how many
--         seconds the hash is kept, then minutes, each with the bytes to give back.
-- Returns {1 if it has them, the bytes in use or -1}. What a node that died never gave back is forgotten with its minute.
local known = redis.call('GET', KEYS[2])
if known then return {tonumber(known), -1} end
for i = 6, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[i], -ARGV[i + 1]) end
end
local used = 0
local minutes = redis.call('HGETALL', KEYS[1])
for i = 1, #minutes, 2 do
  if tonumber(minutes[i]) < tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], minutes[i])
  else
    used = used + math.max(0, tonumber(minutes[i + 1]))
  end
end
local wanted = tonumber(ARGV[4])
local lends = used + wanted <= tonumber(ARGV[2]) and 1 or 0
if wanted > 0 and lends == 1 then
  used = used + wanted
  redis.call('HINCRBY', KEYS[1], ARGV[3], wanted)
end
if #minutes > 0 or wanted > 0 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
redis.call('SET', KEYS[2], lends, 'PX', 60000)
return {lends, used}
