-- wrk -s rotate.lua URL -- BODIES CAMPAIGN: posts the lines of BODIES in turn, and ends with one line of JSON.
-- Each batch gets an id that was never there before, as a plant sends them: CAMPAIGN-NUMBER, counting up.
local ID = "000%-000000"
local requests, at, sent, campaign = {}, 0, 0, 0

local function split(request)
  local parts, first = {}, 1
  local from, to = request:find(ID)
  while from do
    parts[#parts + 1] = request:sub(first, from - 1)
    parts[#parts + 1] = ""
    first = to + 1
    from, to = request:find(ID, first)
  end
  parts[#parts + 1] = request:sub(first)
  return parts
end

function init(arguments)
  wrk.headers["Content-Type"] = "application/json"
  campaign = tonumber(arguments[2])
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = split(wrk.format("POST", nil, nil, body))
  end
end

function request()
  at = at % #requests + 1
  local parts = requests[at]
  for i = 2, #parts, 2 do
    parts[i] = string.format("%03d-%06d", campaign + math.floor(sent / 1000000), sent % 1000000)
    sent = sent + 1
  end
  return table.concat(parts)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
