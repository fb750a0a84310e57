-- Takes for several requests, one after the other: one use of every budget of a request, or none if one of them is used up.
--
-- KEYS: a list for each budget, of the times (ms) of its uses, the oldest first. ARGV: for each request how many budgets it has, and for each of
-- these how many uses in how many ms. Returns now and, for each request: whether they were taken, and for each of its budgets its uses, and ms
-- until the next one that stops counting (or, if it is used up, until there is room again).

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local said = {}

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

-- Takes for the request whose budgets are so many, after `key` and `arg`.
local function take(budgets, key, arg)
    local refused = false
    local uses, oldest = {}, {}
    for i = 1, budgets do
        local count, period = tonumber(ARGV[arg + 2 * i - 1]), tonumber(ARGV[arg + 2 * i])
        oldest[i] = forget(KEYS[key + i], now - period)
        uses[i] = oldest[i] and redis.call('LLEN', KEYS[key + i]) or 0
        refused = refused or uses[i] >= count
    end
    table.insert(said, refused and 0 or 1)
    for i = 1, budgets do
        local count, period = tonumber(ARGV[arg + 2 * i - 1]), tonumber(ARGV[arg + 2 * i])
        if not refused then
            uses[i] = redis.call('RPUSH', KEYS[key + i], string.format('%.0f', now))
            redis.call('PEXPIRE', KEYS[key + i], period)
        end
        local next_to_go = oldest[i]
        -- Beyond `count` are uses of those who may more, and from before the limit was lowered.
        if uses[i] > count then next_to_go = redis.call('LINDEX', KEYS[key + i], uses[i] - count) end
        table.insert(said, uses[i])
        table.insert(said, (next_to_go or now) + period - now)
    end
end

local key, arg = 0, 1
while ARGV[arg] do
    local budgets = tonumber(ARGV[arg])
    take(budgets, key, arg)
    key, arg = key + budgets, arg + 1 + 2 * budgets
end
return { now, said }
