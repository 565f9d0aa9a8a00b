-- What a source may do next, by what all nodes have counted of it.
-- KEYS[1] the source: a hash of its token buckets, "hit" (when a mailbox of it was last used by two devices that
--         accepted each other) and "slowed" (when the last of its claims that wait is looked at).
-- KEYS[2] the same under the key of the period before.
-- KEYS[3] the mailboxes that it made, by when they are over at the latest. KEYS[4] those of the period before.
-- KEYS[5] a hash of the bucket of all misses.
-- ARGV    what it does, for how many ms it is remembered, then burst and interval of four buckets: allocations, claims,
--         misses, misses of all; how long a slowed claim waits, the longest wait, for how long a hit counts; the most
--         mailboxes, the lifetime of a mailbox in ms, its name. Times are in microseconds where nothing else is said.
-- Returns {the number of the limit that is reached or -1, the time until then}: to the next token, or of the wait.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[1])
end
local function set(key, field, at)
  redis.call('HSET', key, field, string.format('%.0f', at))
  redis.call('PEXPIRE', key, ARGV[2])
end
local function get(field) return tonumber(redis.call('HGET', KEYS[1], field) or 0) end
-- A token bucket is the time at which it is full again. Takes a token if `take`; returns the time until there is one.
local function bucket(key, field, burst, take)
  local interval = tonumber(ARGV[burst + 1])
  burst = tonumber(ARGV[burst])
  if burst == 0 then return 0 end
  local full = math.max(now, tonumber(redis.call('HGET', key, field) or 0))
  local wait = full - interval * (burst - 1) - now
  if wait > 0 then return wait end
  if take then set(key, field, full + interval) end
  return 0
end
local function refuse(limit, wait) return {limit, math.ceil(wait)} end

local step = ARGV[1]
if step == 'hit' then
  set(KEYS[1], 'hit', now)
elseif step == 'missed' then
  bucket(KEYS[1], 'misses', 7, true)
  bucket(KEYS[5], 'misses', 9, true)
elseif step == 'allocate' then
  local wait = bucket(KEYS[1], 'allocations', 3, true)
  if wait > 0 then return refuse(8, wait) end
  local count = 0
  for _, mailboxes in ipairs(KEYS[3] == KEYS[4] and {KEYS[3]} or {KEYS[3], KEYS[4]}) do
    redis.call('ZREMRANGEBYSCORE', mailboxes, '-inf', now / 1000)
    count = count + redis.call('ZCARD', mailboxes)
  end
  if count >= tonumber(ARGV[14]) then return refuse(8, 0) end
  redis.call('ZADD', KEYS[3], string.format('%.0f', now / 1000 + ARGV[15]), ARGV[16])
  redis.call('PEXPIRE', KEYS[3], ARGV[15])
else
  if step == 'claim' then
    local wait = bucket(KEYS[1], 'misses', 7, false)
    if wait > 0 then return refuse(10, wait) end
  end
  local wait = bucket(KEYS[1], 'claims', 5, true)
  if wait > 0 then return refuse(9, wait) end
  local hit = get('hit')
  if step == 'claim' and bucket(KEYS[5], 'misses', 9, false) > 0 and (hit == 0 or now - hit >= tonumber(ARGV[13])) then
    local waits = math.max(0, get('slowed') - now) + ARGV[11]
    if waits > tonumber(ARGV[12]) then return refuse(9, waits - ARGV[12]) end
    set(KEYS[1], 'slowed', now + waits)
    return {-1, math.ceil(waits)}
  end
end
return {-1, 0}
