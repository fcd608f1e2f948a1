// markup.c: text into HTML.
#include "markup.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/error.h"

// Length of the UTF-8 character at `s` (RFC 3629: shortest form, no surrogates, up to U+10FFFF) that XML 1.0
// allows; 0 where there is none.
static int character(const unsigned char *s) {
    if (*s < 0x80) return *s >= 32 || *s == '\t' || *s == '\n' || *s == '\r';
    int length = *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;
    if (*s < 0xc2 || *s > 0xf4) return 0;
    uint32_t code = *s & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code == 0xfffe ||
        code == 0xffff)
        return 0;
    if (code >= 0x80 && code < 0xa0) return 0;  // C1 controls
    return length;
}

// At most `most` bytes of the text.
static void escape(FILE *f, const char *text, size_t most) {
    const unsigned char *s = (const unsigned char *)text, *end = s + strnlen(text, most);
    while (s < end) {
        int length = character(s);
        switch (*s) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '"': fputs("&quot;", f); break;
        case '\'': fputs("&#39;", f); break;
        default:
            if (length) fwrite(s, 1, (size_t)length, f);
            else fputs("\xef\xbf\xbd", f);
        }
        s += length ? length : 1;
    }
}

void markup(FILE *f, const char *format, ...) {
    va_list list;
    va_start(list, format);
    for (const char *at = format; *at;) {
        size_t plain = strcspn(at, "%");
        fwrite(at, 1, plain, f);
        at += plain;
        if (!*at) break;
        char part[32];
        size_t length = 1 + strspn(at + 1, " +-0123456789.lz");
        BUG_IF(length + 2 > sizeof part, "format %s", format);
        memcpy(part, at, length + 1);
        part[length + 1] = 0;
        char kind = at[length];
        at += length + 1;
        if (kind == '%') fputc('%', f);
        else if (kind == 's')
            escape(f, va_arg(list, const char *), part[1] == '.' ? strtoul(part + 2, NULL, 10) : SIZE_MAX);
        else if (kind == 'g' || kind == 'f') fprintf(f, part, va_arg(list, double));
        else if (kind == 'u' && strchr(part, 'z')) fprintf(f, part, va_arg(list, size_t));
        else if (kind == 'd' && !strchr(part, 'l')) fprintf(f, part, va_arg(list, int));
        else if (kind == 'd') fprintf(f, "%lld", strstr(part, "ll") ? va_arg(list, long long) : va_arg(list, long));
        else BUG("format %s: %s", format, part);
    }
    va_end(list);
}

void markup_base64(FILE *f, const void *bytes, size_t count) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i += 3) {
        uint32_t v =
            (uint32_t)b[i] << 16 | (i + 1 < count ? (uint32_t)b[i + 1] << 8 : 0) | (i + 2 < count ? b[i + 2] : 0);
        fputc(digit[v >> 18], f);
        fputc(digit[v >> 12 & 63], f);
        fputc(i + 1 < count ? digit[v >> 6 & 63] : '=', f);
        fputc(i + 2 < count ? digit[v & 63] : '=', f);
    }
}
