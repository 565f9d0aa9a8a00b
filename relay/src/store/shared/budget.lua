-- Takes bytes from the budget that all mailboxes share, and gives others back.
-- KEYS[1] a hash: for each minute in which mailboxes end, the bytes that they hold.
-- ARGV    this minute, the budget, the minute in which the caller's mailbox ends, the bytes it wants,
--         then minutes, each with the bytes to give back.
-- Returns {1 if it has them, the bytes in use}. What a node that died never gave back is forgotten with its minute.
for i = 5, #ARGV, 2 do
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
if wanted == 0 then return {1, used} end
if used + wanted > tonumber(ARGV[2]) then return {0, used} end
redis.call('HINCRBY', KEYS[1], ARGV[3], wanted)
redis.call('EXPIRE', KEYS[1], 3600)
return {1, used + wanted}
