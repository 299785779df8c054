(use-modules (ice-9 threads) (ice-9 atomic) (ice-9 futures))
(define mutex (make-mutex))
(define total 0)
(for-each join-thread
          (map (lambda (i)
                 (call-with-new-thread
                  (lambda ()
                    (do ((k 0 (+ k 1))) ((= k 500))
                      (with-mutex mutex (set! total (+ total 1)))))))
               (iota 8)))
(format #t "total ~a~%" total)
(format #t "~a~%" (par-map (lambda (x) (* x x)) (iota 10)))
(define box (make-atomic-box 0))
(define condition (make-condition-variable))
(define ready #f)
(define waiting
  (call-with-new-thread
   (lambda ()
     (with-mutex mutex
       (while (not ready) (wait-condition-variable condition mutex))
       (atomic-box-set! box 42)))))
(with-mutex mutex (set! ready #t) (signal-condition-variable condition))
(join-thread waiting)
(format #t "box ~a~%" (atomic-box-ref box))
(define failing (call-with-new-thread (lambda () (with-exception-handler (lambda (e) 'failed) (lambda () (error "on purpose")) #:unwind? #t))))
(format #t "~a ~a~%" (join-thread failing) (future? (make-future (lambda () 1))))
