from messaging.batching import rest_after


def test_nobody_waits_while_it_is_quiet():
    assert rest_after(0, 1.0) == rest_after(1, 1.0) == 0


def test_a_rest_grows_with_what_was_found_and_with_how_long_it_took_up_to_a_tenth_of_a_second():
    assert 0 < rest_after(2, 0.01) < rest_after(5, 0.01) < rest_after(15, 0.01) < rest_after(15, 1.0)
    assert rest_after(200, 10.0) == 0.1
