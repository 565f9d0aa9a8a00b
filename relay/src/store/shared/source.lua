-- What a source may do next, by what all nodes have counted of it, and of the IPv6 /48 that it is in.
-- KEYS    four of the source: a hash of its token buckets, "hit" (when a mailbox of it was last used by two devices that
--         accepted each other) and "slowed" (when the last of its claims that wait is looked at); the same under the key
--         of the period before; the mailboxes that it made, by when they are over; those of the period before. The same
--         four of the /48, if it is in one. Last a hash of the bucket of all misses.
-- ARGV    what it does, for how many ms it is remembered, then burst and interval of four buckets: allocations, claims,
--         misses, misses of all; how long a slowed claim waits, the longest wait, for how long a hit counts; the most
--         mailboxes; a mailbox's lifetime, the longest, in ms, and its name; for how many sources a /48 counts; 1 if many
--         sources share this place; what was taken for the claim that is decided. Other times are in microseconds.
-- Returns {the number of the limit that is reached or -1, the time until then (to the next token, or of the wait), what was
--         taken for a claim: 1 a miss of its source, 2 one of all, 3 both}. A claim counts as a miss until it is decided.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local all = KEYS[#KEYS]
local levels = {}
for i = 1, #KEYS - 1, 4 do
  if redis.call('EXISTS', KEYS[i]) == 0 and redis.call('EXISTS', KEYS[i + 1]) == 1 then
    redis.call('RENAME', KEYS[i + 1], KEYS[i])
  end
  levels[#levels + 1] = {
    key = KEYS[i], mailboxes = KEYS[i + 2], earlier = KEYS[i + 3], factor = i == 1 and 1 or tonumber(ARGV[18]),
  }
end
local function set(key, field, at)
  redis.call('HSET', key, field, string.format('%.0f', at))
  redis.call('PEXPIRE', key, ARGV[2])
end
local function get(key, field) return tonumber(redis.call('HGET', key, field) or 0) end
-- A token bucket is the time at which it is full again; `rate` says where its burst and interval are. Returns the time
-- until there is a token.
local function wait(key, field, rate, factor)
  local burst, interval = tonumber(ARGV[rate]) * factor, tonumber(ARGV[rate + 1]) / factor
  if burst == 0 then return 0 end
  return math.max(0, math.max(now, get(key, field)) - interval * (burst - 1) - now)
end
-- Takes so many tokens; less than 0 gives them back.
local function take(key, field, rate, factor, tokens)
  if ARGV[rate] == '0' then return end
  set(key, field, math.max(now, get(key, field)) + ARGV[rate + 1] / factor * tokens)
end
-- A token of the source and of its /48, or of neither. Returns the time until there is one.
local function take_all(field, rate)
  for _, level in ipairs(levels) do
    local short = wait(level.key, field, rate, level.factor)
    if short > 0 then return short end
  end
  for _, level in ipairs(levels) do take(level.key, field, rate, level.factor, 1) end
  return 0
end
local function refuse(limit, wait) return {limit, math.ceil(wait), 0} end

local step, source = ARGV[1], levels[1].key
if step == 'hit' then
  set(source, 'hit', now)
elseif step == 'missed' then
  if wait(all, 'misses', 9, 1) == 0 then take(all, 'misses', 9, 1, 1) end
elseif step == 'met' or step == 'own' then
  local taken = tonumber(ARGV[20])
  for _, level in ipairs(levels) do
    if taken % 2 == 1 then take(level.key, 'misses', 7, level.factor, -1) end
    if step == 'own' then take(level.key, 'claims', 5, level.factor, -1) end
  end
  if taken >= 2 then take(all, 'misses', 9, 1, -1) end
elseif step == 'allocate' then
  local short = take_all('allocations', 3)
  if short > 0 then return refuse(8, short) end
  for _, level in ipairs(levels) do
    local count = 0
    local lists = level.mailboxes == level.earlier and {level.mailboxes} or {level.mailboxes, level.earlier}
    for _, mailboxes in ipairs(lists) do
      redis.call('ZREMRANGEBYSCORE', mailboxes, '-inf', now / 1000)
      count = count + redis.call('ZCARD', mailboxes)
    end
    if count >= ARGV[14] * level.factor then return refuse(8, 0) end
  end
  for _, level in ipairs(levels) do
    redis.call('ZADD', level.mailboxes, string.format('%.0f', now / 1000 + ARGV[15]), ARGV[17])
    redis.call('PEXPIRE', level.mailboxes, ARGV[16])
  end
elseif step == 'join' then
  local short = take_all('claims', 5)
  if short > 0 then return refuse(9, short) end
elseif step == 'claim' then
  local has_miss = true
  for _, level in ipairs(levels) do
    local short = wait(level.key, 'misses', 7, level.factor)
    if short > 0 and ARGV[19] == '0' then return refuse(10, short) end
    -- Somebody else may have used them up.
    if short > 0 then has_miss = false end
    short = wait(level.key, 'claims', 5, level.factor)
    if short > 0 then return refuse(9, short) end
  end
  local has_miss_of_all = wait(all, 'misses', 9, 1) == 0
  local hit, waits = get(source, 'hit'), 0
  local has_hit = hit > 0 and now - hit < tonumber(ARGV[13])
  if not has_miss or not (has_miss_of_all or has_hit) then
    waits = math.max(0, get(source, 'slowed') - now) + ARGV[11]
    if waits > tonumber(ARGV[12]) then return refuse(9, waits - ARGV[12]) end
    set(source, 'slowed', now + waits)
  end
  for _, level in ipairs(levels) do
    take(level.key, 'claims', 5, level.factor, 1)
    if has_miss then take(level.key, 'misses', 7, level.factor, 1) end
  end
  if has_miss_of_all then take(all, 'misses', 9, 1, 1) end
  return {-1, math.ceil(waits), (has_miss and 1 or 0) + (has_miss_of_all and 2 or 0)}
end
return {-1, 0, 0}
