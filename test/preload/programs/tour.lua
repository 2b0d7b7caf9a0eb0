-- Tables of every shape, strings, closures, coroutines, errors and the collector in both of its modes.
local function sum(t) local s = 0 for _, v in ipairs(t) do s = s + v end return s end
local function hash(s) local h = 5381 for i = 1, #s do h = (h * 33 + s:byte(i)) % 4294967296 end return h end

for _, mode in ipairs { "incremental", "generational" } do
    collectgarbage(mode)
    local words = {}
    for i = 1, 200000 do words[i % 5003] = (words[i % 5003] or "") .. string.char(97 + i % 26) end
    print(mode, hash(table.concat(words, ",", 1, 5002)))

    local tree = {}
    for i = 1, 100000 do
        local node = tree
        for digit in tostring(i * 7919 % 99991):gmatch("%d") do
            node[digit] = node[digit] or {}
            node = node[digit]
        end
        node.count = (node.count or 0) + 1
    end
    local function count(node) local n = node.count or 0 for k, v in pairs(node) do if k ~= "count" then n = n + count(v) end end return n end
    print(count(tree))

    local routines = {}
    for i = 1, 2000 do
        routines[i] = coroutine.wrap(function() local s = {} for k = 1, 20 do s[k] = i * k coroutine.yield(sum(s)) end end)
    end
    local total = 0
    for _ = 1, 20 do for _, f in ipairs(routines) do total = total + f() end end
    print(total)

    local caught, weak = 0, setmetatable({}, { __mode = "v" })
    for i = 1, 20000 do
        local ok = pcall(error, { i, ("x"):rep(i % 500) })
        caught = caught + (ok and 0 or 1)
        weak[i] = { i }
    end
    collectgarbage()
    collectgarbage()
    print(caught, next(weak))
    local lines = {}
    for i = 1, 50000 do lines[i] = ("%08d %s"):format(i * 31337 % 50021, ("y"):rep(i % 40)) end
    table.sort(lines)
    print(hash(table.concat(lines, "\n")), select("#", table.unpack(lines, 1, 200)))
end
local big = {}
for i = 1, 3000000 do big[i] = i end
for i = 3000000, 1, -1 do big[i] = nil end
print(next(big), hash(("z"):rep(10000000):sub(-1000)))
