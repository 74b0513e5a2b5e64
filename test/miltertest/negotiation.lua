-- What the filter asks for, of an offer of everything and of smaller ones.
dofile("test/miltertest/common.lua")

local conn = open()
must(mt.negotiate(conn, nil, nil, nil))
for _, action in ipairs({SMFIF_ADDHDRS, SMFIF_CHGBODY, SMFIF_ADDRCPT, SMFIF_DELRCPT, SMFIF_CHGHDRS,
                         SMFIF_QUARANTINE, SMFIF_CHGFROM, SMFIF_ADDRCPT_PAR, SMFIF_SETSYMLIST}) do
   equal(true, mt.test_action(conn, action), "action " .. action)
end
for _, step in ipairs({SMFIP_NOCONNECT, SMFIP_NOHELO, SMFIP_NOMAIL, SMFIP_NORCPT, SMFIP_NOBODY,
                       SMFIP_NOHDRS, SMFIP_NOEOH, SMFIP_NOUNKNOWN, SMFIP_NODATA, SMFIP_NR_HDR,
                       SMFIP_NR_CONN, SMFIP_NR_HELO, SMFIP_NR_MAIL, SMFIP_NR_RCPT, SMFIP_NR_DATA,
                       SMFIP_NR_UNKN, SMFIP_NR_EOH, SMFIP_NR_BODY, SMFIP_RCPT_REJ,
                       SMFIP_HDR_LEADSPC}) do
   equal(false, mt.test_option(conn, step), "step " .. step)
end
equal(true, mt.test_option(conn, SMFIP_SKIP), "skip")
must(mt.disconnect(conn))

for version = 2, 6 do
   conn = open()
   must(mt.negotiate(conn, version, SMFIF_ADDHDRS, SMFIP_NOCONNECT))
   equal(true, mt.test_action(conn, SMFIF_ADDHDRS), "add headers")
   equal(false, mt.test_action(conn, SMFIF_QUARANTINE), "quarantine")
   equal(false, mt.test_option(conn, SMFIP_SKIP), "skip")
   must(mt.disconnect(conn))
end
