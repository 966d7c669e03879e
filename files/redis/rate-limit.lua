#!lua name=rate_limit
-- Counts requests, each client's in a window that begins with its first and ends on Redis' clock.
--
-- KEYS: the counters of some clients. ARGV: the window in seconds, the limit, then the points that each takes;
-- what is below zero is given back. Answers two numbers for each: the points taken in this window, the
-- milliseconds until it ends. Of a counter that Redis refuses to write it answers why instead of the first.
--
-- A refusal writes nothing: a flood of them costs no disk, and it stands even when Redis' memory is full.
-- A window never lasts longer than its limit says, even after Redis' own clock was set back.
-- Version 1.0.0 of the limiters counts by a script of this meaning on the same keys: both hold one limit together.
local function take(keys, args)
  if #keys > 64 then return redis.error_reply('ERR at most 64 counters at once') end
  local call, pcall, seconds, limit, answers = redis.call, redis.pcall, tonumber(args[1]), tonumber(args[2]), {}
  for i = 1, #keys do
    local key, points = keys[i], tonumber(args[i + 2])
    local used, left, refused = tonumber(call('GET', key) or 0), seconds * 1000, nil
    if used > 0 then
      local redis_left = call('PTTL', key)
      local now = used + math.max(points, -used)
      if used < limit or points < 0 then refused = pcall('INCRBY', key, now - used) end
      used = now
      if redis_left < 0 or redis_left > left then call('EXPIRE', key, seconds) else left = redis_left end
    elseif points > 0 then
      used, refused = points, pcall('SET', key, points, 'EX', seconds)
    end
    answers[2 * i - 1] = type(refused) == 'table' and refused.err or used
    answers[2 * i] = left
  end
  return answers
end

-- The points taken already, for a Redis that writes nothing now: a replica, or one whose memory or disk is full.
local function look(keys, args)
  if #keys > 64 then return redis.error_reply('ERR at most 64 counters at once') end
  local answers = {}
  for i = 1, #keys do
    answers[2 * i - 1] = tonumber(redis.call('GET', keys[i]) or 0)
    answers[2 * i] = math.min(math.max(redis.call('PTTL', keys[i]), 0), args[1] * 1000)
  end
  return answers
end

redis.register_function('rate_limit_take', take)
redis.register_function{function_name = 'rate_limit_look', callback = look, flags = {'no-writes'}}
