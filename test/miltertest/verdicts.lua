-- A verdict at each stage.
dofile("test/miltertest/common.lua")

local words = {reject = SMFIR_REJECT, tempfail = SMFIR_TEMPFAIL, accept = SMFIR_ACCEPT,
               reply5 = SMFIR_REPLYCODE, multi = SMFIR_REPLYCODE, close421 = SMFIR_REPLYCODE,
               nonsense = SMFIR_CONTINUE}

local function client(ip, reply)
   local conn = open()
   replies(conn, mt.conninfo(conn, "client.example.test", ip), reply)
   must(mt.disconnect(conn))
end

client("127.0.66.1", SMFIR_REJECT)
client("127.0.66.2", SMFIR_TEMPFAIL)
client("127.0.66.3", SMFIR_ACCEPT)
client("127.0.66.4", SMFIR_REPLYCODE)
client("2001:db8::66:1", SMFIR_REJECT)
client("127.0.66.8", SMFIR_CONTINUE)
client("unspec", SMFIR_CONTINUE)

local stages = {
   function(conn, word)
      return mt.mailfrom(conn, "<do-" .. word .. ".1@example.test>")
   end,
   function(conn, word)
      continues(conn, mt.mailfrom(conn, "<a@example.test>"))
      return mt.rcptto(conn, "<do-" .. word .. "@example.test>")
   end,
   function(conn, word)
      continues(conn, mt.mailfrom(conn, "<at-data-" .. word .. "@example.test>"))
      continues(conn, mt.rcptto(conn, "<b@example.test>"))
      return mt.data(conn)
   end,
   function(conn, word)
      continues(conn, mt.mailfrom(conn, "<a@example.test>"))
      continues(conn, mt.rcptto(conn, "<b@example.test>"))
      return mt.header(conn, "X-Test-At", "header " .. word)
   end,
   function(conn, word)
      continues(conn, mt.mailfrom(conn, "<a@example.test>"))
      continues(conn, mt.rcptto(conn, "<b@example.test>"))
      continues(conn, mt.header(conn, "x-test-at", "eoh " .. word))
      return mt.eoh(conn)
   end,
   function(conn, word)
      continues(conn, mt.mailfrom(conn, "<a@example.test>"))
      continues(conn, mt.rcptto(conn, "<b@example.test>"))
      continues(conn, mt.header(conn, "X-Test-At", "body " .. word))
      continues(conn, mt.eoh(conn))
      return mt.bodystring(conn, "Hello.\r\n")
   end,
}

for word, reply in pairs(words) do
   local conn = open()
   continues(conn, mt.conninfo(conn, "client.example.test", "192.0.2.1"))
   replies(conn, mt.helo(conn, word .. ".do.test"), reply)
   must(mt.disconnect(conn))
   for _, stage in ipairs(stages) do
      conn = open()
      greet(conn)
      replies(conn, stage(conn, word), reply)
      must(mt.disconnect(conn))
   end
end

local conn = open()
greet(conn)
replies(conn, mt.unknown(conn, "XDO-reject"), SMFIR_REJECT)
continues(conn, mt.unknown(conn, "XDO-nonsense"))
must(mt.disconnect(conn))
