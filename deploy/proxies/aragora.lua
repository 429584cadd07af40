-- HAProxy asks the gateway before it passes a request on: `http-request lua.aragora ASKED AWAY`.
-- ASKED is what follows /authz/, such as user/api. AWAY says what holds while nobody answers: closed,
-- or open, which is for nothing that needs a token. docs/how-to/forward-auth.md tells the rest.

local GATEWAY = "127.0.0.1:8081" -- the section of haproxy.cfg that leads to it
local WITHIN = 2000 -- milliseconds; that section gives up before
local TO_SERVICE = { "x-aragora-user", "x-aragora-scope" }
local TO_CLIENT = { "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset" }
local REFUSING = { "content-type", "cache-control", "www-authenticate", "retry-after" }

local function refuse(txn, status, fields, body)
    local reply = txn:reply({ status = status, body = body })
    for name, value in pairs(fields) do reply:add_header(name, value) end
    txn:done(reply)
end

local function field(response, name)
    local values = response.headers and response.headers[name]
    return values and values[0]
end

-- What a service would take for ours goes first; some read _ as -.
local function strip(txn, sent)
    for name in pairs(sent) do
        if name:gsub("_", "-"):find("^x%-aragora%-") then txn.http:req_del_header(name) end
    end
end

local function ask(txn, asked, token)
    local headers = { ["x-forwarded-for"] = { txn.f:src() }, ["authorization"] = { token } }
    return core.httpclient():get({
        url = "http://" .. GATEWAY .. "/authz/" .. asked, headers = headers, timeout = WITHIN,
    }) or {}
end

core.register_action("aragora", { "http-req" }, function(txn, asked, away)
    local sent = txn.http:req_get_headers()
    strip(txn, sent)
    local tokens = sent["authorization"]
    if tokens and tokens[1] then return refuse(txn, 400, {}, "") end
    local response = ask(txn, asked, tokens and tokens[0])
    local status = tonumber(field(response, "x-aragora-status"))
    if status == 200 then
        for _, name in ipairs(TO_SERVICE) do
            local value = field(response, name)
            if value then txn.http:req_set_header(name, value) end
            -- What does not fit the buffer is left out in silence.
            if (txn.sf:req_fhdr(name) or "") ~= (value or "") then return refuse(txn, 431, {}, "") end
        end
        for _, name in ipairs(TO_CLIENT) do
            txn:set_var("txn." .. name:gsub("%-", "_"), field(response, name))
        end
    elseif status == 401 or status == 403 or status == 429 or status == 503 then
        local fields = {}
        for _, names in ipairs({ REFUSING, TO_CLIENT }) do
            for _, name in ipairs(names) do fields[name] = field(response, name) end
        end
        refuse(txn, status, fields, response.body)
    elseif away ~= "open" or status or (response.status or 0) < 502 then
        -- 502 to 504 are HAProxy's own, of that section: nothing that a client sends leads to them.
        refuse(txn, 503, { ["retry-after"] = "1" }, "")
    end
end, 2)
