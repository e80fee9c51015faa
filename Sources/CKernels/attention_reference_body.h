// Included once per instruction set, after attention_lanes_body.h. See dv_attention_reference.

// The product of a query and a key: four sums of sixteen lanes over steps of 64, then the rest one by one in F64.
static inline __attribute__((always_inline)) float DV_NAME(dot)(const float *q, const uint16_t *k, int n) {
    dv_f32x16 sum[4] = {0};
    int i = 0;
    for (; i + 64 <= n; i += 64) {
        for (int j = 0; j < 4; j++) {
            dv_f32x16 a;
            __builtin_memcpy(&a, q + i + 16 * j, sizeof a);
            sum[j] = dv_fma(DV_NAME(load)(k + i + 16 * j), a, sum[j]);
        }
    }
    double total = DV_NAME(sum16)((sum[0] + sum[2]) + (sum[1] + sum[3]));
    for (; i < n; i++) {
        _Float16 half;
        __builtin_memcpy(&half, k + i, sizeof half);
        const float product = (float)half * q[i];
        total += (double)product;
    }
    return (float)total;
}

// Turns scores into weights rounded to F16; `padded` is `count` rounded up to 64, the weights in between are 0.
static inline __attribute__((always_inline)) void DV_NAME(softmax)(float *s, int count, int padded, float scale) {
    float max = -INFINITY;
    for (int i = 0; i < count; i++) {
        s[i] *= scale;
        max = s[i] > max ? s[i] : max;
    }
    for (int i = count; i < padded; i++) s[i] = -INFINITY;
    double sum = 0;
    for (int i = 0; i < padded; i += 16) {
        dv_f32x16 x;
        __builtin_memcpy(&x, s + i, sizeof x);
        dv_f32x16 e = DV_NAME(exp16)(x - max);
        if (i + 16 > count) {
            for (int j = 0; j < 16; j++) e[j] = i + j < count ? e[j] : 0;
        }
        __builtin_memcpy(s + i, &e, sizeof e);
        sum += (double)DV_NAME(sum16)(e);
    }
    const float inverse = (float)(1.0 / sum);
    for (int i = 0; i < padded; i += 16) {
        dv_f32x16 e;
        __builtin_memcpy(&e, s + i, sizeof e);
        e = __builtin_convertvector(__builtin_convertvector(e * inverse, dv_f16x16), dv_f32x16);
        __builtin_memcpy(s + i, &e, sizeof e);
    }
}

// The weighted sum of values, in the order of a product over transposed values: one partial sum for each position
// modulo 64, then (0+32)+(16+48) and a tree over the sixteen lanes.
static inline __attribute__((always_inline)) void
DV_NAME(weigh)(const float *weights, const uint16_t *v, size_t stride, int count, int n, float *acc, float *out) {
    __builtin_memset(acc, 0, sizeof(float) * 64 * (size_t)n);
    for (int p = 0; p < count; p++) {
        float *a = acc + (size_t)(p % 64) * (size_t)n;
        const uint16_t *row = v + (size_t)p * stride;
        for (int i = 0; i < n; i += 16) {
            dv_f32x16 x;
            __builtin_memcpy(&x, a + i, sizeof x);
            x = dv_fma(DV_NAME(load)(row + i), DV_SPLAT(weights[p]), x);
            __builtin_memcpy(a + i, &x, sizeof x);
        }
    }
    for (int i = 0; i < n; i += 16) {
        dv_f32x16 lane[16];
        for (int j = 0; j < 16; j++) {
            dv_f32x16 part[4];
            for (int k = 0; k < 4; k++) __builtin_memcpy(&part[k], acc + (size_t)(j + 16 * k) * (size_t)n + i, 64);
            lane[j] = (part[0] + part[2]) + (part[1] + part[3]);
        }
        for (int half = 8; half >= 1; half /= 2) {
            for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
        }
        __builtin_memcpy(out + i, &lane[0], 64);
    }
}

static void DV_NAME(attention)(const dv_attention *c, int worker, int workers) {
    const int group = c->heads / c->keyHeads, n = c->headSize;
    const size_t stride = (size_t)c->keyHeads * (size_t)n;
    float *query = c->scratch + (size_t)worker * c->scratchFloats;
    float *acc = query + (size_t)n * (size_t)group;
    float *scores = acc + 64 * (size_t)n;
    const int tasks = c->rows * c->keyHeads;
    for (int task = worker; task < tasks; task += workers) {
        const int row = task / c->keyHeads, kh = task % c->keyHeads;
        const size_t start = (size_t)c->table[2 * row];
        const int count = c->table[2 * row + 1] + 1, padded = (count + 63) / 64 * 64;
        const size_t head = ((size_t)row * (size_t)c->heads + (size_t)(kh * group)) * (size_t)n;
        const uint16_t *keys = c->keys + start * stride + (size_t)kh * (size_t)n;
        const uint16_t *values = c->values + start * stride + (size_t)kh * (size_t)n;
        for (int i = 0; i < n * group; i++) query[i] = (float)(_Float16)c->query[head + (size_t)i];
        for (int p = 0; p < count; p++) {
            for (int g = 0; g < group; g++) {
                scores[(size_t)g * (size_t)padded + (size_t)p] =
                    DV_NAME(dot)(query + g * n, keys + (size_t)p * stride, n);
            }
        }
        for (int g = 0; g < group; g++) {
            float *s = scores + (size_t)g * (size_t)padded;
            DV_NAME(softmax)(s, count, padded, c->scale);
            DV_NAME(weigh)(s, values, stride, count, n, acc, c->output + head + (size_t)(g * n));
        }
    }
}
