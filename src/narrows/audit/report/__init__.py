"""The report: findings, drawings and pages."""
