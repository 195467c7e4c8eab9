from cdeval.metrics.scorer import equal_batches


def test_every_index_once_and_never_two_keys_in_a_batch():
    keys = [3, 5, 3, 3, 5, 1, 3]
    batches = list(equal_batches(keys, lambda key: 2))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len({keys[index] for index in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 2


def test_a_text_too_large_for_the_bound_goes_alone():
    assert list(equal_batches([9, 9], lambda key: 0)) == [[0], [1]]
