-- Takes a place among mailboxes, of one source or of all together. Places whose time is over free themselves.
-- KEYS[1] a sorted set: mailboxes by when they are over at the latest, in ms.
-- ARGV    the mailbox, how long it lives at most in ms, how many places there are.
-- Returns 1 if it has a place, also if it had it before.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
