// Runs a fuzz target once on every file named: its corpus is a test also where there is no libFuzzer. One line
// of TAP for each; what the target finds ends the program.
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    static uint8_t data[1 << 20];
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            perror(argv[i]);
            return 1;
        }
        size_t size = fread(data, 1, sizeof data, f);
        fclose(f);
        // A copy of the exact size, so that a sanitizer sees a read beyond it.
        uint8_t *exact = malloc(size + !size);
        if (!exact) return 1;
        for (size_t k = 0; k < size; k++) exact[k] = data[k];
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        printf("ok %d %s\n", i, argv[i]);
        fflush(stdout);
    }
    return 0;
}
