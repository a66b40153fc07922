-- What every script starts with. KEY (names) comes before this text, added by __init__.py.
-- Lua does not roll back: every script checks everything before it writes anything.

local ARG = cjson.decode(ARGV[1])

local clock = redis.call('TIME')
local now_s = clock[1] .. '.' .. string.format('%06d', tonumber(clock[2]))
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Lua writes large numbers as 1.7e+12.
local function whole(number)
  return string.format('%.0f', number)
end

-- Ends the script with an error that Python translates by its code.
local function refuse(code, message)
  error({ refusal = code .. ' ' .. message })
end

-- A number greater than any given out before. It never runs behind the clock, so that it still
-- grows where Redis came back empty: an old version or fence must not come into use again.
local function next_number()
  local last = tonumber(redis.call('GET', KEY.sequence) or '0')
  local number = whole(math.max(last + 1, now_ms))
  redis.call('SET', KEY.sequence, number)
  return number
end
