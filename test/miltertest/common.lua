-- What all scripts use. The global `address` says where the filter listens.

-- Ends the script. Since miltertest does not tell why, this says so, and at which line.
local function fail(problem)
   mt.echo(debug.traceback(problem, 2))
   error(problem)
end

function must(result)
   if result ~= nil then
      fail(result)
   end
end

function equal(expected, seen, what)
   if expected ~= seen then
      fail((what or "value") .. ": expected " .. tostring(expected) .. ", seen " .. tostring(seen))
   end
end

-- The last call must have succeeded with this reply.
function replies(conn, result, reply)
   must(result)
   equal(string.char(reply), string.char(mt.getreply(conn)), "reply")
end

function continues(conn, result)
   replies(conn, result, SMFIR_CONTINUE)
end

function open()
   local conn = mt.connect(address)
   if conn == nil then
      fail("the filter does not accept connections")
   end
   return conn
end

function greet(conn)
   continues(conn, mt.conninfo(conn, "client.example.test", "192.0.2.1"))
   continues(conn, mt.helo(conn, "client.example.test"))
end

-- Sends a message up to its end, whose X-Test-Do fields are the commands.
function message(conn, sender, recipient, commands)
   continues(conn, mt.mailfrom(conn, sender))
   continues(conn, mt.rcptto(conn, recipient))
   continues(conn, mt.data(conn))
   continues(conn, mt.header(conn, "Subject", "x"))
   for _, command in ipairs(commands) do
      continues(conn, mt.header(conn, "X-Test-Do", command))
   end
   continues(conn, mt.eoh(conn))
   continues(conn, mt.bodystring(conn, "Hello.\r\n"))
   must(mt.eom(conn))
end
