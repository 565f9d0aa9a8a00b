-- Takes a place among all mailboxes. Places whose time is over free themselves.
-- KEYS[1] a sorted set: mailboxes by when they are over if nothing more happens, in ms.
-- ARGV    the mailbox, how long it lives in ms, how long at most, how many places there are.
-- Returns 1 if it has a place, also if it had it before.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local is_new = not redis.call('ZSCORE', KEYS[1], ARGV[1])
if is_new and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
if is_new then redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
