"""Lua scripts of the rate windows: take, correct, fill. Valkey runs each as one atomic step for all accounts.

The window of an account has four keys: the start of each effect (a sorted set), its tokens (a hash), their sum, and the
id of the Valkey process in which the window is complete (`whole`). After a restart the keys may be old; after a flush
they are gone. Without the id of the running process no effect is counted and none may begin.
"""

# Functions that each script begins with. Times are Valkey's own, in milliseconds.
_COMMON = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end
local function drop(base, effect)
  local held = redis.call('HGET', base .. ':tokens', effect)
  if held then
    redis.call('DECRBY', base .. ':sum', held)
    redis.call('HDEL', base .. ':tokens', effect)
    redis.call('ZREM', base .. ':began', effect)
  end
end
local function put(base, effect, tokens, at)
  redis.call('ZADD', base .. ':began', at, effect)
  redis.call('HSET', base .. ':tokens', effect, tokens)
  redis.call('INCRBY', base .. ':sum', tokens)
end
"""

# KEYS: a base for each account. ARGV: window, effect, tokens; then each account's limits, tokens and calls (-1: none).
# Returns {0}: counted; {1, n, milliseconds since the loss}: window n is lost; {2, n, milliseconds to wait}: full.
TAKE = (
    _COMMON
    + """
local at, window, effect, tokens = now(), tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local here = server()
for n, base in ipairs(KEYS) do
  if redis.call('GET', base .. ':whole') ~= here then
    redis.call('SET', base .. ':lost', here .. ' ' .. at, 'NX', 'PX', window)
    local loss = redis.call('GET', base .. ':lost')
    local by, since = string.match(loss, '(%x+) (%d+)')
    if by ~= here then
      redis.call('SET', base .. ':lost', here .. ' ' .. at, 'PX', window)
      since = at
    end
    return {1, n, at - tonumber(since)}
  end
end
for n, base in ipairs(KEYS) do
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', base .. ':began', '-inf', at - window)) do drop(base, old) end
  drop(base, effect)
  local most_tokens, most_calls = tonumber(ARGV[2 + 2 * n]), tonumber(ARGV[3 + 2 * n])
  local calls, sum = redis.call('ZCARD', base .. ':began'), tonumber(redis.call('GET', base .. ':sum') or 0)
  local free = most_tokens >= 0 and sum + tokens - most_tokens or 0
  local ended = most_calls >= 0 and calls + 1 - most_calls or 0
  if free > 0 or ended > 0 then
    local wait = 0
    for i, entry in ipairs(redis.call('ZRANGE', base .. ':began', 0, -1)) do
      if free <= 0 and i > ended then break end
      free = free - tonumber(redis.call('HGET', base .. ':tokens', entry))
      wait = tonumber(redis.call('ZSCORE', base .. ':began', entry)) + window - at
    end
    return {2, n, math.max(1, wait)}
  end
end
for _, base in ipairs(KEYS) do
  put(base, effect, tokens, at)
  for _, part in ipairs({':began', ':tokens', ':sum'}) do redis.call('PEXPIRE', base .. part, 10 * window) end
end
return {0}
"""
)

# KEYS: a base for each account. ARGV: effect, tokens (-1 removes the effect). Effects before the window are not added.
CORRECT = (
    _COMMON
    + """
local effect, tokens = ARGV[1], tonumber(ARGV[2])
for _, base in ipairs(KEYS) do
  local began = redis.call('ZSCORE', base .. ':began', effect)
  if began then
    drop(base, effect)
    if tokens >= 0 then put(base, effect, tokens, began) end
  end
end
return 0
"""
)

# KEYS: one base. ARGV: window, then effect, tokens and age in milliseconds of each effect. A complete window stays.
FILL = (
    _COMMON
    + """
local base, at, window = KEYS[1], now(), tonumber(ARGV[1])
if redis.call('GET', base .. ':whole') ~= server() then
  redis.call('DEL', base .. ':began', base .. ':tokens', base .. ':sum', base .. ':lost')
  for i = 2, #ARGV, 3 do put(base, ARGV[i], tonumber(ARGV[i + 1]), at - tonumber(ARGV[i + 2])) end
  redis.call('SET', base .. ':whole', server())
end
return 0
"""
)
