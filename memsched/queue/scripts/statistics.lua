-- statistics: included by scripts that count something.
--
-- add_to_statistics(stats, counts, now): adds to the hash `stats`, and to those of this minute (kept for 3 hours) and of
-- these ten minutes (kept for 3 days). `counts` is a flat list of fields and numbers. Returns what the server refused,
-- if it did: nobody's message must fail for it.
-- stats_of(lane): the hash of a lane.
local function stats_of(lane) return (string.gsub(lane.stream, ':stream$', ':stats')) end

local function add_to_statistics(stats, counts, now)
  local minute = math.floor(tonumber(now) / 60000)
  local minutes = stats .. ':' .. string.format('%.0f', minute)
  local tens = stats .. ':ten:' .. string.format('%.0f', math.floor(minute / 10))
  for _, key in ipairs({stats, minutes, tens}) do
    for at = 1, #counts, 2 do
      local reply = redis.pcall('HINCRBY', key, counts[at], counts[at + 1])
      if type(reply) == 'table' and reply.err then return reply end
    end
  end
  redis.call('EXPIRE', minutes, 10800)
  redis.call('EXPIRE', tens, 259200)
end
