-- The variant that stays silent until the end of message.
dofile("test/miltertest/common.lua")

local conn = open()
must(mt.negotiate(conn, nil, nil, nil))
for _, step in ipairs({SMFIP_NR_HDR, SMFIP_NR_CONN, SMFIP_NR_HELO, SMFIP_NR_MAIL, SMFIP_NR_RCPT,
                       SMFIP_NR_DATA, SMFIP_NR_UNKN, SMFIP_NR_EOH, SMFIP_NR_BODY}) do
   equal(true, mt.test_option(conn, step), "step " .. step)
end
must(mt.conninfo(conn, "client.example.test", "192.0.2.1"))
must(mt.helo(conn, "client.example.test"))
must(mt.unknown(conn, "FOO"))
must(mt.mailfrom(conn, "<a@example.test>"))
must(mt.rcptto(conn, "<b@example.test>"))
must(mt.data(conn))
must(mt.header(conn, "X-Test-Do", "dump"))
must(mt.header(conn, "X-Test-Do", "tempfail"))
must(mt.eoh(conn))
must(mt.bodystring(conn, "Hello.\r\n"))
replies(conn, mt.eom(conn), SMFIR_TEMPFAIL)
equal("connect helo unknown mail rcpt data header eoh body eom",
      mt.getheader(conn, "X-Saw-Stages", 0))
must(mt.disconnect(conn))
