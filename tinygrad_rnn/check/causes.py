def explain_wrong(report, outcome, deadline, filename):
    wrong = [p for p in outcome.problems if p.wrong]
    if wrong:
        report.cause, report.line, report.kind = wrong[0].text, wrong[0].line, wrong[0].kind
