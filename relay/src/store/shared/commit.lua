-- Replaces a mailbox if it is still the one that the caller read: claims and appends are atomic because of this.
-- KEYS[1] the mailbox: a hash of its tag "e", its state "s" and its data frames.
-- ARGV    the tag read ("" if there was no mailbox), the new tag, the new state, its time to live in ms,
--         then three lists, each behind its length: fields and values to put, fields to delete, fields to return,
--         then channels to wake, each with its message.
-- Returns {1, fields...}; or {0, tag, state} of the mailbox that is there instead.
local tag = redis.call('HGET', KEYS[1], 'e') or ''
if tag ~= ARGV[1] then
  return {0, tag, redis.call('HGET', KEYS[1], 's') or ''}
end
local at = 5
local function list(width)
  local items = {}
  local last = at + tonumber(ARGV[at]) * width
  for i = at + 1, last do items[#items + 1] = ARGV[i] end
  at = last + 1
  return items
end
local put, delete, get = list(2), list(1), list(1)
redis.call('HSET', KEYS[1], 'e', ARGV[2], 's', ARGV[3], unpack(put))
local answer = {1}
if #get > 0 then
  for _, frame in ipairs(redis.call('HMGET', KEYS[1], unpack(get))) do answer[#answer + 1] = frame end
end
if #delete > 0 then redis.call('HDEL', KEYS[1], unpack(delete)) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = at, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return answer
