-- Takes one use of every budget, or none if one of them is used up.
--
-- KEYS: a list for each budget, of the times (ms) of its uses, the oldest first. ARGV: how many uses in how many ms, for each.
-- Returns { whether they were taken, now, and for each: its uses, ms until the next one that stops counting (or, if it is used up, until there
-- is room again) }.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Forgets the uses up to that time, and returns the oldest one that stays. There may be thousands, so the first that stays is searched for
-- by halves.
local function forget(key, time)
    local oldest = redis.call('LINDEX', key, 0)
    if not oldest or tonumber(oldest) > time then return oldest end
    local from, to = 1, redis.call('LLEN', key)
    while from < to do
        local middle = math.floor((from + to) / 2)
        if tonumber(redis.call('LINDEX', key, middle)) > time then to = middle else from = middle + 1 end
    end
    redis.call('LTRIM', key, from, -1)
    return redis.call('LINDEX', key, 0)
end

local refused = false
local uses, oldest = {}, {}
for i, key in ipairs(KEYS) do
    oldest[i] = forget(key, now - ARGV[2 * i])
    uses[i] = oldest[i] and redis.call('LLEN', key) or 0
    refused = refused or uses[i] >= tonumber(ARGV[2 * i - 1])
end

local answer = { refused and 0 or 1, now }
for i, key in ipairs(KEYS) do
    local count, period = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    if not refused then
        uses[i] = redis.call('RPUSH', key, string.format('%.0f', now))
        redis.call('PEXPIRE', key, period)
    end
    local next_to_go = oldest[i]
    -- Beyond `count` are uses from before the limit was lowered.
    if uses[i] > count then next_to_go = redis.call('LINDEX', key, uses[i] - count) end
    table.insert(answer, uses[i])
    table.insert(answer, (next_to_go or now) + period - now)
end
return answer
