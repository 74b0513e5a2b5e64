/*
 * The measured filter on libmilter: hears of every event, counts header fields (but not its
 * own of earlier hops) and bytes of the body, and adds "X-Seen: HEADERS BYTES".
 *
 *     gcc -O2 -o seen_filter seen_filter.c -lmilter -lpthread
 *     ./seen_filter inet:20025@127.0.0.1
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct seen {
    unsigned long headers;
    unsigned long bytes;
};

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    struct seen *seen = calloc(1, sizeof *seen);

    if (seen == NULL)
        return SMFIS_TEMPFAIL;
    smfi_setpriv(ctx, seen);
    return SMFIS_CONTINUE;
}

static sfsistat on_text(SMFICTX *ctx, char *text)
{
    return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command)
{
    return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **arguments)
{
    struct seen *seen = smfi_getpriv(ctx);

    memset(seen, 0, sizeof *seen);
    return SMFIS_CONTINUE;
}

static sfsistat on_recipient(SMFICTX *ctx, char **arguments)
{
    return SMFIS_CONTINUE;
}

static sfsistat on_stage(SMFICTX *ctx)
{
    return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    struct seen *seen = smfi_getpriv(ctx);

    if (strcasecmp(name, "X-Seen") != 0)
        seen->headers++;
    return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t length)
{
    struct seen *seen = smfi_getpriv(ctx);

    seen->bytes += length;
    return SMFIS_CONTINUE;
}

static sfsistat on_end_of_message(SMFICTX *ctx)
{
    struct seen *seen = smfi_getpriv(ctx);
    char value[48];

    snprintf(value, sizeof value, "%lu %lu", seen->headers, seen->bytes);
    if (smfi_addheader(ctx, "X-Seen", value) != MI_SUCCESS)
        return SMFIS_TEMPFAIL;
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc filter = {
        .xxfi_name = "seen",
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_ADDHDRS,
        .xxfi_connect = on_connect,
        .xxfi_helo = on_text,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_recipient,
        .xxfi_data = on_stage,
        .xxfi_header = on_header,
        .xxfi_eoh = on_stage,
        .xxfi_body = on_body,
        .xxfi_eom = on_end_of_message,
        .xxfi_abort = on_stage,
        .xxfi_close = on_close,
        .xxfi_unknown = on_unknown,
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s inet:PORT@HOST | unix:PATH\n", argv[0]);
        return 2;
    }
    if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS
        || smfi_setbacklog(1024) != MI_SUCCESS)
        return 1;
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
