-- Requests for wrk: one body a line of the file that is the first argument, in turns, each thread from another line on. Says at
-- the end how many answers were not 200, and the percentiles of latency.
local threads = 0

function setup(thread)
  thread:set("first", threads * 7919)
  threads = threads + 1
end

function init(arguments)
  requests = {}
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, line)
  end
  at = first
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"requests": %d, "micros": %d, "failed": %d, "p50": %d, "p99": %d}\n', summary.requests,
    summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
