"""The worker's order: newest job only, questions first and in a job's pauses."""

import threading

import pytest

from d4rt_ros.ros.worker import Worker

WAIT = 5.0


@pytest.fixture
def worker():
    worker = Worker("test")
    yield worker
    worker.stop()


def _occupy(worker):
    """Start a job that lasts until the returned event is set."""
    begun, go = threading.Event(), threading.Event()

    def job():
        begun.set()
        go.wait(WAIT)

    worker.offer(job)
    assert begun.wait(WAIT)
    return go


def test_only_the_newest_job_waits(worker):
    go, done, last = _occupy(worker), [], threading.Event()
    assert not worker.offer(lambda: done.append(1))
    assert worker.offer(lambda: done.append(2))
    assert worker.offer(lambda: (done.append(3), last.set()))
    go.set()
    assert last.wait(WAIT) and done == [3]


def test_a_discarded_job_is_not_done(worker):
    go, done = _occupy(worker), []
    worker.offer(lambda: done.append(1))
    worker.discard()
    go.set()
    worker.ask(lambda: None).result(WAIT)
    assert done == []


def test_questions_are_answered_in_the_pauses_of_a_job(worker):
    begun, asked, finished = threading.Event(), threading.Event(), threading.Event()

    def job():
        begun.set()
        asked.wait(WAIT)
        worker.serve_pending()
        order.append("job")
        finished.set()

    order = []
    worker.offer(job)
    assert begun.wait(WAIT)
    answers = [worker.ask(lambda i=i: order.append(i) or i) for i in range(3)]
    asked.set()
    assert [a.result(WAIT) for a in answers] == [0, 1, 2]
    assert finished.wait(WAIT) and order == [0, 1, 2, "job"]


def test_a_question_that_pauses_is_not_interrupted_by_the_next(worker):
    go, order = _occupy(worker), []

    def long_question():
        order.append("begin")
        worker.serve_pending()
        order.append("end")

    first, second = worker.ask(long_question), worker.ask(lambda: order.append("second"))
    go.set()
    first.result(WAIT), second.result(WAIT)
    assert order == ["begin", "end", "second"]


def test_who_asked_gets_the_exception_and_the_worker_goes_on(worker):
    with pytest.raises(ZeroDivisionError):
        worker.ask(lambda: 1 / 0).result(WAIT)
    assert worker.ask(lambda: 7).result(WAIT) == 7


def test_stopping_answers_who_waits(worker):
    go = _occupy(worker)
    waiting = worker.ask(lambda: 1)
    threading.Timer(0.05, go.set).start()
    worker.stop()
    for future in (waiting, worker.ask(lambda: 1)):
        with pytest.raises(RuntimeError, match="stopped"):
            future.result(WAIT)


def test_questions_without_end_do_not_starve_the_window(worker):
    """Whoever is answered asks again at once, as a client in a loop does; the job goes on and the next one begins."""
    answered, finished, next_done = [], threading.Event(), threading.Event()

    def asks_again():
        answered.append(1)
        if not next_done.is_set():
            worker.ask(asks_again)

    def job():
        worker.ask(asks_again)
        for _ in range(5):
            worker.serve_pending()
        meanwhile.append(len(answered))
        finished.set()

    meanwhile = []
    try:
        worker.offer(job)
        assert finished.wait(WAIT) and meanwhile == [5]
        worker.offer(next_done.set)
        assert next_done.wait(WAIT)
    finally:
        next_done.set()


def test_stopping_does_not_wait_for_what_never_ends():
    worker, go = Worker("test"), threading.Event()
    begun = threading.Event()
    asked = worker.ask(lambda: (begun.set(), go.wait(60)))
    waiting = worker.ask(lambda: 1)
    assert begun.wait(WAIT)
    assert not worker.stop(patience=0.05)
    for future in (asked, waiting):  # whoever waits is told at once
        with pytest.raises(RuntimeError, match="stopped"):
            future.result(0)
    assert not worker.offer(lambda: None)
    go.set()
    assert worker.stop(WAIT)


def test_it_may_be_stopped_twice_and_from_several_threads():
    worker = Worker("test")
    go = _occupy(worker)
    threads = [threading.Thread(target=worker.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert worker.stop()
