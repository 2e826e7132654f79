"""What python3 does with threads and children, its results and nothing else: the same in every run. Ends with 3."""

import concurrent.futures
import hashlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time

HELD = 0.05  # seconds; what threads must wait, at least


def counted_under_a_lock():
    lock, counts = threading.Lock(), {"all": 0}

    def count():
        for _ in range(2000):
            with lock:
                counts["all"] += 1

    run_all([threading.Thread(target=count) for _ in range(4)])
    return counts["all"]


def run_all(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def waited_for_a_held_lock():
    lock, order = threading.RLock(), []
    with lock:
        waiter = threading.Thread(target=lambda: (lock.acquire(), order.append("waiter"), lock.release()))
        waiter.start()
        time.sleep(HELD)
        order.append("holder")
        timed_out = threading.Thread(target=lambda: order.append(lock.acquire(timeout=HELD)))
        timed_out.start()
        timed_out.join()
    waiter.join()
    return order


def handed_over_by_a_condition():
    condition, items, taken = threading.Condition(), [], []

    def take():
        for _ in range(50):
            with condition:
                condition.wait_for(lambda: items)
                taken.append(items.pop())
                condition.notify_all()

    taker = threading.Thread(target=take)
    taker.start()
    for item in range(50):
        with condition:
            condition.wait_for(lambda: not items)
            items.append(item)
            condition.notify_all()
    taker.join()
    return taken == list(range(50)), condition.acquire(), condition.wait(0.01), condition.release()


def worked_off_a_queue():
    work, done = queue.Queue(maxsize=3), queue.SimpleQueue()

    def worker():
        while (number := work.get()) is not None:
            done.put(number * number)
            work.task_done()

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        work.put(number)
    work.join()
    for thread in threads:
        work.put(None)
    for thread in threads:
        thread.join()
    return sum(done.get() for _ in range(300))


def met_at_a_barrier():
    barrier, slots, event = threading.Barrier(4), threading.BoundedSemaphore(2), threading.Event()
    indexes = []

    def meet():
        with slots:
            time.sleep(0.001)
        indexes.append(barrier.wait())
        event.wait()

    timer = threading.Timer(HELD, event.set)
    timer.start()
    run_all([threading.Thread(target=meet) for _ in range(4)])
    timer.join()
    return sorted(indexes), event.wait(0)


def mapped_by_pools():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda size: hashlib.sha256(bytes(size)).hexdigest()[:6], range(10000, 400000, 50000)))
        late = pool.submit(time.sleep, HELD)
        try:
            late.result(timeout=HELD / 10)
        except concurrent.futures.TimeoutError:
            digests.append("timed out")
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        return digests, list(pool.map(pow, range(10), range(10)))


def ended_children():
    ends = []
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        words = [[sys.executable, "-c", f"import sys; print({n}); sys.exit({n})"] for n in range(4)]
        for done in pool.map(lambda command: subprocess.run(command, capture_output=True, text=True), words):
            ends.append((done.returncode, done.stdout, done.stderr))
    return ends


def ended_forks():
    child = os.fork()
    if child == 0:
        run_all([threading.Thread(target=time.sleep, args=(0.01,))])
        os._exit(9)
    killed = os.fork()
    if killed == 0:
        signal.pause()
    os.kill(killed, signal.SIGKILL)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in (child, killed)]


def interrupted_by_signals():
    seen = []
    signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire(timeout=HELD), [int(number) for number in seen], subprocess.run(["sleep", "0.01"]).returncode


if __name__ == "__main__":  # not in those that a pool may begin anew
    sys.setswitchinterval(1e-4)  # so that threads often wait for the interpreter
    for function in (counted_under_a_lock, waited_for_a_held_lock, handed_over_by_a_condition, worked_off_a_queue,
                     met_at_a_barrier, mapped_by_pools, ended_children, ended_forks, interrupted_by_signals):
        print(function.__name__, function())
    print("goes to stderr", file=sys.stderr)
    sys.exit(3)
