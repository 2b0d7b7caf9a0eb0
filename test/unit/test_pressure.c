/* Pressure stall information. */
#include "policy_test.h"

Test(pressure, texts) {
    static const struct {
        const char *text;
        int64_t some10, some60, some300, some_us, full10, full_us;
    } rows[] = {
        {"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0, 0, 0, 0, 0, 0},
        {"some avg10=61.20 avg60=5.05 avg300=100.00 total=98000000\nfull avg10=33.07 avg60=1.00 avg300=0.10 total=61000000\n", 6120, 505, 10000,
         98000000, 3307, 61000000},
        /* full is missing in the root's cpu.pressure of some kernels, and may come first */
        {"some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n", 150, 0, 0, 7, UNKNOWN, UNKNOWN},
        {"full avg10=1.50 total=9\n", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 150, 9},
        {"some avg10=1.5 avg60=2.999 total=7", 150, 299, UNKNOWN, 7, UNKNOWN, UNKNOWN},
        {"some avg10=0.37 avg60=0.", 37, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"some avg10=nan avg60=101.00 avg300=1 total=-1\nfull avg10=.50 total=12us\n", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"some avg10=1.x total=99999999999999999999999\n", UNKNOWN, UNKNOWN, UNKNOWN, INT64_MAX, UNKNOWN, UNKNOWN},
        {"most avg10=1.00 total=5\n\nsome\nfull =\n", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct pressure p;
        pressure_parse(text_of(rows[i].text), &p);
        assert_reading(rows[i].text, p.some.avg10, rows[i].some10);
        assert_reading(rows[i].text, p.some.avg60, rows[i].some60);
        assert_reading(rows[i].text, p.some.avg300, rows[i].some300);
        assert_reading(rows[i].text, p.some.total_us, rows[i].some_us);
        assert_reading(rows[i].text, p.full.avg10, rows[i].full10);
        assert_reading(rows[i].text, p.full.total_us, rows[i].full_us);
    }
}

Test(pressure, files) {
    struct pressure p;
    pressure_read("test/fixtures/v2-host", &p);
    assert_reading("machine", p.some.total_us, 1500000);
    assert_reading("machine", p.full.avg10, 12);
    pressure_read_group(text_of("test/fixtures/v2-over/sys/fs/cgroup/tight"), &p);
    assert_reading("group", p.full.total_us, 61000000);
    pressure_read("test/fixtures/no-cgroup", &p);
    assert_reading("not configured", p.some.total_us, UNKNOWN);
    pressure_read("test/fixtures/garbage", &p);
    assert_reading("garbage", p.some.total_us, UNKNOWN);
    assert_reading("garbage", p.full.total_us, UNKNOWN);
}
